"""What can be asked of the service, and decided: the same answers as the commands give."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from itertools import count
from typing import TYPE_CHECKING, Any

import pytest

from shared.ledger.opening import open_ledger
from shared.settings import load_settings
from tests.books import order
from tests.eventually import eventually
from tests.orderly import Orderly, workers_of
from tests.scaled import Scaled
from tests.server import Server, lines, problem_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.servers.postgres_server import Postgres
    from tests.servers.redis_server import Redis

PERMANENT, SEED = 0.4, 7
DECIDED = 90
"""Orders of the fixture: of nine customers, some too dear, some dead."""


def dies(order_id: str, attempt: int) -> bool:
    """Predict whether the faulty gateway fails an attempt."""
    key = f"{SEED}/{order_id}/{attempt}".encode()
    drawn = int.from_bytes(hashlib.blake2b(key, digest_size=8).digest(), "big") / 2**64
    return drawn < PERMANENT


def name(prefix: str, *fate: str) -> str:
    """Make up an id whose attempts die and live as said."""
    return next(
        order_id
        for order_id in (f"{prefix}-{number}" for number in count())
        if all(dies(order_id, attempt) is (each == "dies") for attempt, each in enumerate(fate, 1))
    )


@pytest.fixture(scope="module", params=["local", "redis"])
def desk(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    """A service with orders of every status, whose gateway fails now and then, in each mode."""
    folder = tmp_path_factory.mktemp("desk")
    faults = {"GATEWAY_FAULTS": f"permanent={PERMANENT},seed={SEED}"}
    if request.param == "redis":
        database: Postgres = request.getfixturevalue("postgres")
        queue: Redis = request.getfixturevalue("redis_server")
        orderly: Orderly = Scaled(
            folder, faults, ledger_url=database.new_database(), redis_url=queue.url
        )
        orderly.start("pay")
    else:
        orderly = Orderly(folder, faults)
    service = Server(orderly)
    try:
        service.start()
        sent = [
            order(f"all-{number}", f"k-{number % 9}", 150_000 if number % 5 == 0 else 10)
            for number in range(DECIDED)
        ]
        for start in range(0, DECIDED, 30):  # entries of different times
            assert {each["code"] for each in service.bulk(lines(sent[start : start + 30]))} == {202}
        service.settle()
        yield service
        assert service.stop().code == 0
        assert orderly.json("verify")["ok"]
    finally:
        service.close()
        orderly.close()


def pages(server: Server, **wanted: str | int) -> list[list[dict[str, Any]]]:
    """Turn over every page of a list."""
    found = []
    cursor: str | None = ""
    while cursor is not None:
        given = wanted | ({"cursor": cursor} if cursor else {})
        response = server.client.get("/orders", params=given)
        assert response.status_code == 200, response.text
        page = response.json()
        found.append(page["orders"])
        assert page["orders"] or cursor == "", "only a list of nothing has an empty page"
        assert page["next"] != cursor
        cursor = page["next"]
    return found


def listed(server: Server, **wanted: str | int) -> list[dict[str, Any]]:
    return [each for page in pages(server, **wanted) for each in page]


def place(server: Server, order_id: str, amount: int = 10) -> str:
    """Place an order, and wait for what becomes of it."""
    assert server.place(order(order_id, "decided", amount)).status_code == 202
    return (
        eventually(lambda: None if (status := server.status(order_id)) == "open" else status) or ""
    )


def test_a_story_is_what_explain_tells(desk: Server) -> None:
    paid, declined = name("paid", "lives"), name("declined", "lives")
    dead, discarded = name("dead", "dies"), name("discarded", "dies")
    retried = name("retried", "dies", "lives")
    outcomes = [
        place(desk, paid),
        place(desk, declined, 1_000_000),
        *(place(desk, each) for each in (dead, discarded, retried)),
    ]
    assert outcomes == ["paid", "declined", "dead", "dead", "dead"]
    assert desk.client.post(f"/orders/{discarded}/discard").status_code == 200
    assert desk.client.post(f"/orders/{retried}/retry").status_code == 202
    eventually(lambda: desk.status(retried) == "paid")
    ids = [paid, declined, dead, discarded, retried]
    told = [desk.orderly.start("explain", each, "--json") for each in ids]
    for order_id, process in zip(ids, told, strict=True):
        out, err = process.communicate(timeout=60)
        assert process.returncode == 0, err
        assert desk.client.get(f"/orders/{order_id}").json() == json.loads(out)


def test_an_order_that_was_never_accepted_has_no_story(desk: Server) -> None:
    problem_of(desk.client.get("/orders/nobody"), 404, "unknown-order")
    for impossible in ("a%20b", "x" * 65, "a%00", "%C3%A9", "a%0A", "a*"):
        problem_of(desk.client.get(f"/orders/{impossible}"), 422, "invalid-request")
    problem_of(desk.client.get("/orders/a%2Fb"), 404, "not-found")


def test_a_list_has_every_order_once_the_latest_first(desk: Server) -> None:
    found = listed(desk, limit=500)
    ids = [each["order_id"] for each in found]
    assert len(set(ids)) == len(ids) >= DECIDED
    assert set(ids) == {row[0] for row in desk.query("SELECT order_id FROM identities")}
    times = [each["accepted_at"] for each in found]
    assert times == sorted(times, reverse=True)
    counted = Counter(each["status"] for each in found)
    totals = desk.client.get("/status").json()
    assert counted == {each: totals[each] for each in ("paid", "declined", "dead")}


def test_what_a_list_says_of_an_order_is_its_story_in_short(desk: Server) -> None:
    for each in listed(desk, customer_id="k-5"):
        story = desk.client.get(f"/orders/{each['order_id']}").json()
        for shared in ("status", "customer_id", "total", "currency", "partition", "number"):
            assert each[shared] == story[shared]
        assert each["attempts"] == story["attempts"]
        accepted, settled = story["history"]
        assert each["accepted_at"] == accepted["at"]
        assert each["settled_at"] == settled["at"]
        assert each["reason"] == settled.get("reason")


@pytest.mark.parametrize("limit", [1, 7, 30, 50])
def test_pages_make_up_the_whole_list(desk: Server, limit: int) -> None:
    whole = listed(desk, limit=500)
    found = pages(desk, limit=limit)
    assert [each for page in found for each in page] == whole
    assert {len(page) for page in found[:-1]} <= {limit}
    assert len(found[-1]) <= limit


@pytest.mark.parametrize("status", ["paid", "declined", "dead", "open"])
@pytest.mark.parametrize("customer_id", [None, "k-0", "k-5", "nobody"])
def test_a_list_can_be_narrowed(desk: Server, status: str, customer_id: str | None) -> None:
    wanted: dict[str, str | int] = {"status": status, "limit": 4}
    if customer_id is not None:
        wanted["customer_id"] = customer_id
    expected = [
        each
        for each in listed(desk, limit=500)
        if each["status"] == status and customer_id in {None, each["customer_id"]}
    ]
    assert listed(desk, **wanted) == expected
    assert bool(expected) == (status != "open" and customer_id != "nobody")


def test_a_list_of_one_order_has_it_where_it_is_now(desk: Server) -> None:
    for each in listed(desk, limit=500)[::20]:
        assert listed(desk, order_id=each["order_id"]) == [each]
        other = "open" if each["status"] == "paid" else "paid"
        assert listed(desk, order_id=each["order_id"], status=other) == []
    retried = name("moved", "dies", "lives")
    assert place(desk, retried) == "dead"
    (before,) = listed(desk, order_id=retried)
    assert desk.client.post(f"/orders/{retried}/retry").status_code == 202
    eventually(lambda: desk.status(retried) == "paid")
    (after,) = listed(desk, order_id=retried)
    assert after["number"] > before["number"]
    assert listed(desk, order_id="nobody") == []


def test_new_orders_do_not_disturb_who_turns_the_pages(desk: Server) -> None:
    whole = listed(desk, limit=500)
    first = desk.client.get("/orders", params={"limit": 40}).json()
    place(desk, name("meanwhile", "lives"))
    rest = desk.client.get("/orders", params={"limit": 500, "cursor": first["next"]}).json()
    assert first["orders"] + rest["orders"] == whole
    assert rest["next"] is None


@pytest.mark.parametrize(
    ("wanted", "where"),
    [
        ("status=lost", "status"),
        ("limit=0", "limit"),
        ("limit=501", "limit"),
        ("limit=ten", "limit"),
        ("limit=1e1", "limit"),
        ("customer_id=a%20b", "customer_id"),
        ("customer_id=", "customer_id"),
        ("customer_id=%25", "customer_id"),
        ("cursor=first", "cursor"),
        ("cursor=1-2", "cursor"),
        ("cursor=9999999999999999999-0-1", "cursor"),
        ("cursor=%D9%A3-0-1", "cursor"),
    ],
)
def test_a_parameter_that_cannot_be_meant_is_named(desk: Server, wanted: str, where: str) -> None:
    document = problem_of(desk.client.get(f"/orders?{wanted}"), 422, "invalid-request")
    assert [error["where"] for error in document["errors"]] == [f"query.{where}"]


def test_the_status_is_that_of_the_command(desk: Server) -> None:
    def steady(report: dict[str, Any]) -> dict[str, Any]:
        moving = {"seen_at", "started_at", "state"}
        report["workers"] = [
            {key: value for key, value in worker.items() if key not in moving}
            for worker in report["workers"]
        ]
        return report

    # Its workers report twice a second.
    eventually(
        lambda: steady(desk.client.get("/status").json()) == steady(desk.orderly.json("status"))
    )
    told = desk.client.get("/status").json()
    supervisors = [desk.pid, *(each.pid for each in desk.orderly.started)]
    assert {worker["pid"] for worker in told["workers"]} == set().union(
        *map(workers_of, supervisors)
    )
    assert told["ledger"] == desk.orderly.environment.get("LEDGER_URL", "sqlite:///var/orderly.db")
    assert told["mode"] == desk.orderly.environment.get("QUEUE_MODE", "local")


def test_the_proof_is_that_of_the_command_also_where_it_fails(desk: Server) -> None:
    proof = desk.client.get("/verify")
    assert proof.json() == desk.orderly.json("verify")
    assert proof.json()["ok"]
    spoil = "UPDATE transfers SET amount = amount {} 1 WHERE order_id = '{}'"
    spoilt = next(each["order_id"] for each in listed(desk, status="paid"))

    def write(sign: str) -> None:
        url = desk.orderly.environment.get("LEDGER_URL", f"sqlite:///{desk.ledger}")
        database = open_ledger(load_settings(ledger_url=url), create=False).database
        with closing(database), database.write() as connection:
            connection.exec_driver_sql(spoil.format(sign, spoilt))

    write("+")
    try:
        proof = desk.client.get("/verify")
        assert proof.status_code == 200
        assert proof.json() == desk.orderly.json("verify", code=1)
        assert not proof.json()["ok"]
        assert proof.json()["violations"]
    finally:
        write("-")
    assert desk.client.get("/verify").json()["ok"]


@pytest.mark.parametrize("decision", ["retry", "discard"])
def test_only_dead_orders_are_decided_about(desk: Server, decision: str) -> None:
    paid = name(f"alive-{decision}", "lives")
    assert place(desk, paid) == "paid"
    document = problem_of(desk.client.post(f"/orders/{paid}/{decision}"), 409, "not-dead")
    assert document["detail"] == f"order {paid} is paid"
    problem_of(desk.client.post(f"/orders/nobody/{decision}"), 404, "unknown-order")
    problem_of(desk.client.post(f"/orders/a%20b/{decision}"), 422, "invalid-request")


def test_a_dead_order_is_opened_again_once_however_often_that_is_asked(desk: Server) -> None:
    dead = name("again", "dies", "lives")
    assert place(desk, dead) == "dead"
    before = desk.client.get("/status").json()
    with ThreadPoolExecutor(8) as clerks:
        found = list(clerks.map(lambda _: desk.client.post(f"/orders/{dead}/retry"), range(8)))
    assert {each.status_code for each in found} <= {202, 409}
    first = next(each for each in found if each.status_code == 202)
    assert first.json() == {"order_id": dead, "status": "open"}
    eventually(lambda: desk.status(dead) == "paid")
    events = [each["event"] for each in desk.client.get(f"/orders/{dead}").json()["history"]]
    assert (events.count("retried"), events.count("dead"), events.count("paid")) == (1, 1, 1)
    after = desk.client.get("/status").json()
    assert (after["created"], after["dead"]) == (before["created"], before["dead"] - 1)
    problem_of(desk.client.post(f"/orders/{dead}/retry"), 409, "not-dead")


def test_a_retried_order_may_die_again(desk: Server) -> None:
    dead = name("twice", "dies", "dies")
    assert place(desk, dead) == "dead"
    assert desk.client.post(f"/orders/{dead}/retry").status_code == 202

    def attempts() -> int:
        return int(desk.client.get(f"/orders/{dead}").json()["attempts"])

    eventually(lambda: attempts() == 2)
    eventually(lambda: desk.status(dead) == "dead")
    (letter,) = [each for each in desk.orderly.json("dead", "list") if each["order_id"] == dead]
    assert letter["attempts"] == 2


def test_a_discarded_order_stays_dead_and_is_marked_once(desk: Server) -> None:
    dead = name("marked", "dies")
    assert place(desk, dead) == "dead"
    found = [desk.client.post(f"/orders/{dead}/discard").json() for _ in range(2)]
    assert found == [
        {"order_id": dead, "status": "dead", "discarded": True},
        {"order_id": dead, "status": "dead", "discarded": False},
    ]
    assert dead in {each["order_id"] for each in listed(desk, status="dead")}
    (letter,) = [each for each in desk.orderly.json("dead", "list") if each["order_id"] == dead]
    assert letter["discarded_at"]
