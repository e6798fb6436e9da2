"""What a gateway's answer does to its order, its customer and the orders behind it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest

from services.payment.gateway import (
    Declined,
    PermanentFailure,
    TransientFailure,
)
from shared import clock
from shared.ledger import settlement as the_books
from shared.ledger import tables
from shared.ledger.reports import totals
from tests.books import assert_proven, books_of, order, take_in
from tests.settling import Scripted, cursor, outcomes, settle_through, settler, work_out

if TYPE_CHECKING:
    from collections.abc import Callable

    from shared.ledger.opening import Ledger

    NewLedger = Callable[..., Ledger]


def test_a_failed_attempt_that_was_overtaken_is_not_counted_twice(new_ledger: NewLedger) -> None:
    ledger = new_ledger(partitions=1)
    take_in(ledger, [order("o-1")])
    settlements = [
        work_out(settler(ledger, Scripted(**{"o-1": [TransientFailure("busy")]}))) for _ in range(2)
    ]
    assert [the_books.write(ledger, each) for each in settlements] == [True, False]
    assert cursor(ledger).attempts == 1


def test_a_transient_failure_keeps_what_precedes_it_and_waits(new_ledger: NewLedger) -> None:
    ledger = new_ledger(partitions=1)
    take_in(ledger, [order("o-1"), order("o-2"), order("o-3")])
    gateway = Scripted(**{"o-2": [TransientFailure("busy"), TransientFailure()]})
    before = clock.now_us()
    settlement = work_out(settler(ledger, gateway))
    assert the_books.write(ledger, settlement)
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
    stint = settler(ledger, gateway).settle_partition(0)
    assert stint.settled == 0
    assert stint.due is not None
    assert stint.due <= time.monotonic() + 1.9
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


@pytest.mark.parametrize(
    ("answers", "status", "attempts", "reason"),
    [
        ([Declined("no")], "declined", 1, "no"),
        ([PermanentFailure("stolen")], "dead", 1, "stolen"),
        ([PermanentFailure()], "dead", 1, "refused for good"),
        ([TransientFailure("busy"), PermanentFailure("stolen")], "dead", 2, "stolen"),
        ([TransientFailure("busy")] * 4, "paid", 5, None),
        ([TransientFailure("busy")] * 5, "dead", 5, "busy"),
        ([ZeroDivisionError("x")] * 2, "paid", 3, None),
        ([ZeroDivisionError("x")] * 3, "dead", 3, "invalid: ZeroDivisionError: x"),
        ([None], "dead", 1, "invalid: the gateway answered None"),
        ([True], "dead", 1, "invalid: the gateway answered True"),
        # What a database refuses as text.
        ([Declined("n\0")], "declined", 1, "n\\x00"),
        ([PermanentFailure("\udcff")], "dead", 1, "\\udcff"),
        ([TransientFailure("\ud800\0 é")] * 5, "dead", 5, "\\ud800\\x00 é"),
        ([OSError("\0")] * 3, "dead", 3, "invalid: OSError: \\x00"),
    ],
)
def test_an_answer_becomes_an_outcome_and_the_next_order_goes_on(
    new_ledger: NewLedger, answers: list[Any], status: str, attempts: int, reason: str | None
) -> None:
    ledger = new_ledger(partitions=1)
    take_in(ledger, [order("o-1"), order("o-2")])
    settle_through(ledger, Scripted(**{"o-1": list(answers)}))
    assert outcomes(ledger) == [("o-1", status, attempts, reason), ("o-2", "paid", 1, None)]
    assert_proven(ledger)


def test_a_gateway_that_breaks_is_not_tried_more_often_than_any_other(
    new_ledger: NewLedger,
) -> None:
    ledger = new_ledger(partitions=1)
    take_in(ledger, [order("o-1")])
    settle_through(ledger, Scripted(**{"o-1": [OSError("x")] * 9}), max_attempts=2)
    assert outcomes(ledger) == [("o-1", "dead", 2, "invalid: OSError: x")]


def test_a_gateway_may_grant_debt_but_not_more_than_an_account_can_hold(
    new_ledger: NewLedger,
) -> None:
    ledger = new_ledger(partitions=1, opening_balance=0)
    line = {"sku": "gold", "quantity": 1_000_000, "unit_price": 10**12}
    take_in(ledger, [order(f"o-{number}") | {"items": (line,) * 9} for number in range(3)])
    settle_through(ledger, Scripted())
    assert [status for _, status, *_ in outcomes(ledger)] == ["paid", "dead", "dead"]
    assert books_of(ledger).balance == {("c-1", "USD"): -9 * 10**18}
    assert_proven(ledger)


def test_sums_beyond_64_bits_are_exact(new_ledger: NewLedger) -> None:
    ledger = new_ledger(partitions=1, opening_balance=0)
    line = {"sku": "gold", "quantity": 1_000_000, "unit_price": 10**12}
    block = [order(f"o-{n}", f"c-{n}") | {"items": (line,) * 9} for n in range(5)]
    take_in(ledger, block)
    settle_through(ledger, Scripted())
    with ledger.database.read() as connection:
        assert totals(connection).paid_amount == {"USD": 45 * 10**18}
    assert_proven(ledger)
