"""The bank fails in every way at once, and workers are killed: each paid order was charged once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.bank import Bank
from tests.support.orderly import Orderly, finish, kill, workers_of
from tests.support.scripted import orders_file

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ORDERS = 4000
FAULTS = {
    "fail_before": 0.05,
    "lost_after": 0.05,
    "timeout": 0.02,
    "cut": 0.01,
    "latency_before": 0.02,
    "seed": 7,
}


@pytest.fixture
def storm(tmp_path: Path) -> Iterator[Bank]:
    """A bank in which nothing works as it should."""
    folder = tmp_path / "bank"
    folder.mkdir()
    orderly = Orderly(folder, {"CHAOS": "1"})
    service = Bank(orderly)
    try:
        service.start()
        service.put_faults(**FAULTS)
        yield service
    finally:
        service.close()
        orderly.close()


@pytest.mark.long
@pytest.mark.timeout(300)
def test_each_paid_order_was_charged_once_and_no_other(either: Orderly, storm: Bank) -> None:
    either.environment |= {"PAYMENT_GATEWAY": storm.url, "GATEWAY_TIMEOUT": "1"}
    orders = [(f"o{number}", f"c{number % 200}") for number in range(ORDERS)]
    running = either.start("run", orders_file(either.folder, orders, amount=9000), "--json")
    for goal in range(300, ORDERS - 200, 500):
        either.until_settled(goal)
        if workers := workers_of(running.pid):
            kill(workers[goal % len(workers)])
    ended = finish(running, within=200)
    assert ended.code == 0, ended.err
    report = ended.json
    assert (report["created"], report["dead"], report["open"]) == (ORDERS, 0, 0)
    assert report["verified"] is True
    either.assert_serial()
    book = storm.charges()
    paid = [each["reference"] for each in book if each["status"] == "paid"]
    assert len(paid) == len(set(paid)), "an order was charged twice"
    ours = {name for (name,) in either.query("SELECT order_id FROM outcomes WHERE status = 'paid'")}
    assert set(paid) == ours
    assert {each["amount"] for each in book} == {9000}
