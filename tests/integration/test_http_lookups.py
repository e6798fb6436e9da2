"""What can be asked of the service, and decided: the same answers as the commands give."""

from __future__ import annotations

import json
from contextlib import closing
from typing import Any

import pytest

from shared.environment import load_settings
from shared.ledger.ledger import open_ledger
from tests.support.eventually import eventually
from tests.support.faulty import listed, name, place
from tests.support.orderly import workers_of
from tests.support.server import Server, problem_of


def test_a_story_is_what_explain_tells(faulty: Server) -> None:
    paid, declined = name("paid", "lives"), name("declined", "lives")
    dead, discarded = name("dead", "dies"), name("discarded", "dies")
    retried = name("retried", "dies", "lives")
    outcomes = [
        place(faulty, paid),
        place(faulty, declined, 1_000_000),
        *(place(faulty, each) for each in (dead, discarded, retried)),
    ]
    assert outcomes == ["paid", "declined", "dead", "dead", "dead"]
    assert faulty.client.post(f"/orders/{discarded}/discard").status_code == 200
    assert faulty.client.post(f"/orders/{retried}/retry").status_code == 202
    eventually(lambda: faulty.status(retried) == "paid")
    ids = [paid, declined, dead, discarded, retried]
    told = [faulty.orderly.start("explain", each, "--json") for each in ids]
    for order_id, process in zip(ids, told, strict=True):
        out, err = process.communicate(timeout=60)
        assert process.returncode == 0, err
        assert faulty.client.get(f"/orders/{order_id}").json() == json.loads(out)


def test_an_order_that_was_never_accepted_has_no_story(faulty: Server) -> None:
    problem_of(faulty.client.get("/orders/nobody"), 404, "unknown-order")
    for impossible in ("a%20b", "x" * 65, "a%00", "%C3%A9", "a%0A", "a*"):
        problem_of(faulty.client.get(f"/orders/{impossible}"), 422, "invalid-request")
    problem_of(faulty.client.get("/orders/a%2Fb"), 404, "not-found")


def test_the_status_is_that_of_the_command(faulty: Server) -> None:
    def steady(report: dict[str, Any]) -> dict[str, Any]:
        moving = {"seen_at", "started_at", "state"}
        report["workers"] = [
            {key: value for key, value in worker.items() if key not in moving}
            for worker in report["workers"]
        ]
        return report

    # Its workers report twice a second.
    eventually(
        lambda: steady(faulty.client.get("/status").json()) == steady(faulty.orderly.json("status"))
    )
    told = faulty.client.get("/status").json()
    supervisors = [faulty.pid, *(each.pid for each in faulty.orderly.started)]
    assert {worker["pid"] for worker in told["workers"]} == set().union(
        *map(workers_of, supervisors)
    )
    assert told["ledger"] == faulty.orderly.environment.get(
        "LEDGER_URL", "sqlite:///var/orderly.db"
    )
    assert told["mode"] == faulty.orderly.environment.get("QUEUE_MODE", "local")


@pytest.mark.long
def test_the_proof_is_that_of_the_command_also_where_it_fails(faulty: Server) -> None:
    proof = faulty.client.get("/verify")
    assert proof.json() == faulty.orderly.json("verify")
    assert proof.json()["ok"]
    spoil = "UPDATE transfers SET amount = amount {} 1 WHERE order_id = '{}'"
    spoilt = next(each["order_id"] for each in listed(faulty, status="paid"))

    def write(sign: str) -> None:
        url = faulty.orderly.environment.get("LEDGER_URL", f"sqlite:///{faulty.ledger}")
        database = open_ledger(load_settings(ledger_url=url), create=False).database
        with closing(database), database.write() as connection:
            connection.exec_driver_sql(spoil.format(sign, spoilt))

    write("+")
    try:
        proof = faulty.client.get("/verify")
        assert proof.status_code == 200
        assert proof.json() == faulty.orderly.json("verify", code=1)
        assert not proof.json()["ok"]
        assert proof.json()["violations"]
    finally:
        write("-")
    assert faulty.client.get("/verify").json()["ok"]
