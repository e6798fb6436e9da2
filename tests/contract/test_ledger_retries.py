"""An order that has to wait: what precedes it stays, and its partition is left alone until then."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from services.payment.gateway import (
    TransientFailure,
)
from shared import clock
from shared.ledger.database import tables
from shared.ledger.settlement import write
from tests.support.ledgers import assert_proven, order, take_in
from tests.support.settling import Scripted, cursor, outcomes, settle_through, settler, work_out

if TYPE_CHECKING:
    from collections.abc import Callable

    from shared.ledger.ledger import Ledger

    NewLedger = Callable[..., Ledger]


def test_a_failed_attempt_that_was_overtaken_is_not_counted_twice(new_ledger: NewLedger) -> None:
    ledger = new_ledger(partitions=1)
    take_in(ledger, [order("o-1")])
    settlements = [
        work_out(settler(ledger, Scripted(**{"o-1": [TransientFailure("busy")]}))) for _ in range(2)
    ]
    assert [write(ledger, each) for each in settlements] == [True, False]
    assert cursor(ledger).attempts == 1


def test_a_transient_failure_keeps_what_precedes_it_and_waits(new_ledger: NewLedger) -> None:
    ledger = new_ledger(partitions=1)
    take_in(ledger, [order("o-1"), order("o-2"), order("o-3")])
    gateway = Scripted(**{"o-2": [TransientFailure("busy"), TransientFailure()]})
    before = clock.now_us()
    settlement = work_out(settler(ledger, gateway))
    assert write(ledger, settlement)
    assert [payment.order_id for payment in settlement.payments] == ["o-1"]
    waiting = cursor(ledger)
    assert (waiting.number, waiting.attempts, waiting.reason) == (1, 1, "busy")
    assert waiting.retry_at is not None
    assert before <= waiting.retry_at <= clock.now_us() + clock.SECOND // 20
    settle_through(ledger, gateway)
    assert outcomes(ledger) == [
        ("o-1", "paid", 1, None),
        ("o-2", "paid", 3, None),
        ("o-3", "paid", 1, None),
    ]
    assert [charge.attempt for charge in gateway.asked] == [1, 1, 2, 3, 1]
    assert_proven(ledger)


def test_a_partition_that_waits_is_left_alone_until_its_time(new_ledger: NewLedger) -> None:
    ledger = new_ledger(partitions=1)
    take_in(ledger, [order("o-1")])
    with ledger.database.write() as connection:
        soon = clock.now_us() + 1_900_000
        connection.execute(tables.cursors.update().values(retry_at=soon))
    gateway = Scripted()
    visit = settler(ledger, gateway).settle_partition(0)
    assert visit.settled == 0
    assert visit.due is not None
    assert visit.due <= time.monotonic() + 1.9
    assert gateway.asked == []


def test_a_time_that_a_clock_set_back_has_left_behind_holds_nobody_up(
    new_ledger: NewLedger,
) -> None:
    ledger = new_ledger(partitions=1)
    take_in(ledger, [order("o-1")])
    an_hour_ahead = clock.now_us() + 3600 * clock.SECOND
    with ledger.database.write() as connection:
        connection.execute(tables.cursors.update().values(retry_at=an_hour_ahead, attempts=1))
    assert settler(ledger).settle_partition(0).settled == 1
    assert outcomes(ledger) == [("o-1", "paid", 2, None)]
