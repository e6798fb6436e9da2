"""Every command through the front door: what it prints, in which shape, and how it ends."""

from __future__ import annotations

import json
from datetime import datetime
from typing import TYPE_CHECKING, Any

import pytest

from shared.settings import Settings
from tests.support.orderly import Orderly, assert_refused
from tests.support.replay import read_journal
from tests.support.scaled import Scaled

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.servers.postgres_server import Postgres
    from tests.support.servers.redis_server import Redis

pytestmark = pytest.mark.anew

TOTALS = {
    "created": int,
    "paid": int,
    "declined": int,
    "dead": int,
    "open": int,
    "paid_amount": dict,
}
RUN = TOTALS | {
    "mode": str,
    "run_id": str,
    "received": int,
    "duplicates": int,
    "rejected": int,
    "recovered": int,
    "seconds": float,
    "orders_per_second": float,
    "verified": bool,
}


def assert_shape(found: dict[str, Any], shape: dict[str, type]) -> None:
    assert {name: type(value) for name, value in found.items()} == shape


@pytest.fixture(scope="module", params=["local", "redis"])
def shop(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Orderly:
    """A ledger of 200 generated orders, some of them dead and declined; look, but change nothing.

    In redis mode it is in PostgreSQL. ``report`` is what its run printed.
    """
    folder = tmp_path_factory.mktemp("shop")
    shop = Orderly(folder, anew=True)
    if request.param == "redis":
        database: Postgres = request.getfixturevalue("postgres")
        queue: Redis = request.getfixturevalue("redis_server")
        shop = Scaled(folder, ledger_url=database.new_database(), redis_url=queue.url)
    shop.environment["OPENING_BALANCE"] = "2000"
    result = shop(
        "run",
        *("--orders", "200", "--seed", "7", "--json"),
        GATEWAY_FAULTS="permanent=0.1,seed=3",
    )
    assert result.code == 0, result
    (shop.folder / "report.json").write_text(result.out)
    return shop


@pytest.fixture(scope="module")
def report(shop: Orderly) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((shop.folder / "report.json").read_text())
    return found


@pytest.fixture(scope="module")
def dead(shop: Orderly) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = shop.json("dead", "list")
    return found


def test_run_prints_one_object_whose_sums_come_out(report: dict[str, Any]) -> None:
    assert_shape(report, RUN)
    assert report["verified"] is True
    assert (report["received"], report["created"], report["recovered"]) == (200, 200, 0)
    assert report["received"] == report["created"] + report["duplicates"] + report["rejected"]
    settled = report["paid"] + report["declined"] + report["dead"]
    assert report["created"] == settled + report["open"]
    assert min(report["paid"], report["declined"], report["dead"]) > 0
    assert all(type(amount) is int for amount in report["paid_amount"].values())


def test_status_and_verify_print_the_same_totals_as_the_run(
    shop: Orderly, report: dict[str, Any]
) -> None:
    status, proof = shop.json("status"), shop.json("verify")
    more = {"mode": str, "ledger": str, "workers": list, "queue_depth": int}
    gateway = {"gateway": type(None), "gateway_away": bool, "calls_out": int, "in_doubt": int}
    assert_shape(status, TOTALS | more | gateway | {"queue_trouble": type(None)})
    assert_shape(proof, TOTALS | {"ok": bool, "violations": list})
    assert (proof["ok"], proof["violations"]) == (True, [])
    for name in TOTALS:
        assert status[name] == proof[name] == report[name]
    assert status["mode"] == report["mode"] == shop.environment.get("QUEUE_MODE", "local")
    assert status["ledger"] == shop.environment.get("LEDGER_URL", "sqlite:///var/orderly.db")


def test_explain_tells_an_order_from_its_acceptance_to_its_transfer(shop: Orderly) -> None:
    orders = {order["order_id"]: order for order in read_journal(shop("journal").out)}
    outcomes = shop.final_state().status
    for status in "paid", "declined", "dead":
        order_id = next(each for each in outcomes if outcomes[each] == status)
        order, story = orders[order_id], shop.json("explain", order_id)
        assert story["status"] == status
        assert_shape(
            story,
            {
                "order_id": str,
                "customer_id": str,
                "status": str,
                "total": int,
                "currency": str,
                "partition": int,
                "number": int,
                "attempts": int,
                "transfers": list,
                "history": list,
            },
        )
        total = sum(item["quantity"] * item["unit_price"] for item in order["items"])
        assert (story["total"], story["currency"]) == (total, order["currency"])
        assert story["customer_id"] == order["customer_id"]
        assert [event["event"] for event in story["history"]] == ["accepted", status]
        assert all(datetime.fromisoformat(event["at"]) for event in story["history"])
        moved = [transfer["amount"] for transfer in story["transfers"]]
        assert moved == ([total] if status == "paid" else [])
    assert shop("explain", order_id).out.startswith(f"order     {order_id}\n")


def test_an_order_that_was_never_accepted_cannot_be_explained(shop: Orderly) -> None:
    assert_refused(shop("explain", "nobody-1"), "'nobody-1' was never accepted")


def test_dead_letters_are_listed_with_their_reasons(
    shop: Orderly, dead: list[dict[str, Any]], report: dict[str, Any]
) -> None:
    assert len(dead) == report["dead"]
    for letter in dead:
        assert {"order_id", "amount", "currency", "attempts", "reason", "settled_at"} <= set(letter)
        assert (letter["attempts"], letter["discarded_at"]) == (1, None)
        assert letter["reason"]
    lines = shop("dead", "list").out.splitlines()
    assert [line.split()[0] for line in lines[:-1]] == [letter["order_id"] for letter in dead]
    assert lines[-1].startswith(f"{len(dead)} dead orders")


@pytest.mark.long
@pytest.mark.parametrize("what", ["retry", "discard"])
def test_what_is_not_dead_can_be_neither_retried_nor_discarded(
    shop: Orderly, dead: list[dict[str, Any]], what: str
) -> None:
    result = shop("dead", what, dead[0]["order_id"], "nobody-1", "nobody-2")
    assert_refused(result, "not dead: nobody-1, nobody-2", "nothing was changed")
    assert_refused(shop("dead", what), "name the orders, or say --all")
    assert shop.json("dead", "list") == dead


def test_config_tells_every_setting_its_value_and_where_it_came_from(shop: Orderly) -> None:
    found = shop.json("config", PAYMENT_WORKERS="3")
    assert set(found) == {name.upper() for name in Settings.model_fields}
    for name, setting in found.items():
        assert set(setting) == {"value", "from", "is"}
        given = name in {"PAYMENT_WORKERS", *shop.environment}
        assert setting["from"] == ("environment" if given else "default")
    assert (found["PAYMENT_WORKERS"]["value"], found["OPENING_BALANCE"]["value"]) == (3, 2000)


def test_a_name_that_is_nearly_a_setting_is_told(shop: Orderly) -> None:
    typos: Any = {
        "PAYMENT_WORKER": "3",
        "ledger_ulr": "x",
        "HTTP_PROT": "1",
        "LEDGER_PASSWORD": "p",
    }
    others: Any = {"HTTP_PROXY": "y", "MY_PARTITION": "z", "REDIS_PORT": "1", "LOG_LEVEL": "debug"}
    result = shop("config", **typos, **others)
    assert result.code == 0
    assert sorted(result.err.splitlines()) == [
        "orderly: HTTP_PROT is no setting; is HTTP_PORT meant?",
        "orderly: LEDGER_PASSWORD is no setting; is LEDGER_PASSWORD_FILE meant?",
        "orderly: PAYMENT_WORKER is no setting; is PAYMENT_WORKERS meant?",
        "orderly: ledger_ulr is no setting; is LEDGER_URL meant?",
    ]


@pytest.mark.long
def test_a_setting_that_cannot_be_used_ends_every_command_in_one_line(tmp_path: Path) -> None:
    orderly = Orderly(tmp_path, {"QUEUE_MODE": "kafka", "PARTITIONS": "many"}, anew=True)
    for command in "run", "config":
        assert_refused(
            orderly(command), "QUEUE_MODE='kafka'", "local or redis", "PARTITIONS='many'"
        )
    secret = Orderly(tmp_path, {"LEDGER_URL": "mysql://clerk:gehe@im@host/orders"}, anew=True)
    result = secret("run")
    assert_refused(result, "LEDGER_URL='mysql://clerk:***@host/orders'")


@pytest.mark.parametrize(
    ("gateway", "words"),
    [
        ("own:Idle", "has no method charge(charge)"),
        ("own:Broken", "RuntimeError: no key for the bank"),
    ],
)
def test_a_gateway_that_cannot_be_used_stops_a_run_before_it_starts(
    tmp_path: Path, gateway: str, words: str
) -> None:
    (tmp_path / "own.py").write_text(
        "class Idle: ...\n"
        "class Broken:\n"
        "    def __init__(self):\n"
        "        raise RuntimeError('no key\\nfor the bank')\n"
    )
    orderly = Orderly(tmp_path, {"PAYMENT_GATEWAY": gateway}, anew=True)
    assert_refused(orderly("run", "--fresh"), f"PAYMENT_GATEWAY={gateway}", words)
    assert not orderly.ledger.exists()
