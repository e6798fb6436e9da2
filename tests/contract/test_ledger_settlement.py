"""Settlement, rule by rule: what a message is taken for, and what a gateway's answer does."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any, cast

import pytest

from services.payment.gateway import (
    PAID,
    Charge,
    Declined,
    Gateway,
    LedgerGateway,
    Paid,
    PermanentFailure,
    TransientFailure,
)
from services.payment.settle import Settler
from services.payment.work import Delivery
from shared import clock
from shared.ledger import settlement as the_books
from shared.ledger import tables
from shared.ledger.journal import positions
from shared.ledger.reports import totals
from shared.schema import encode_nudge
from tests.books import assert_proven, books_of, dump, order, take_in

if TYPE_CHECKING:
    from collections.abc import Callable

    from shared.ledger.opening import Ledger

    NewLedger = Callable[..., Ledger]


class Scripted:
    """A gateway that answers each order as it is told, attempt by attempt; then it pays."""

    def __init__(self, **script: list[Any]) -> None:
        self.script = script
        self.asked: list[Charge] = []

    def charge(self, charge: Charge) -> Paid | Declined:
        self.asked.append(charge)
        answers = self.script.get(charge.order.order_id, [])
        answer: Any = answers.pop(0) if answers else PAID
        if isinstance(answer, BaseException):
            raise answer
        return cast("Paid | Declined", answer)  # or nonsense, on purpose


def settler(
    ledger: Ledger, gateway: Gateway | None = None, *, worker: str = "w-1", max_attempts: int = 5
) -> Settler:
    return Settler(
        ledger,
        gateway or LedgerGateway(),
        worker=worker,
        batch_size=200,
        max_attempts=max_attempts,
    )


def work_out(worker: Settler) -> the_books.Settlement:
    """Let a worker prepare a settlement of partition 0, and not write it."""
    work = worker._next(0)
    assert work is not None
    return worker._decide(work, time.monotonic() + 60)


def cursor(ledger: Ledger, partition: int = 0) -> the_books.Cursor:
    with ledger.database.read() as connection:
        return the_books.peek(connection, partition)


def make_due(ledger: Ledger) -> None:
    with ledger.database.write() as connection:
        connection.execute(tables.cursors.update().values(retry_at=None))


def outcomes(ledger: Ledger) -> list[tuple[str, str, int, str | None]]:
    """What became of each order, with attempts and reason, in the journal's order."""
    return [
        (order_id, status, attempts, reason)
        for _, _, order_id, status, _, _, attempts, reason, *_ in dump(ledger)["outcomes"]
    ]


def test_orders_are_paid_in_their_order_as_far_as_the_money_goes(new_ledger: NewLedger) -> None:
    ledger = new_ledger(partitions=1, opening_balance=1000)
    amounts = [400, 700, 600, 0, 1]
    take_in(ledger, [order(f"o-{n}", amount=amount) for n, amount in enumerate(amounts)])
    stint = settler(ledger).settle_partition(0)
    assert (stint.settled, stint.due) == (5, None)
    books = books_of(ledger)
    assert list(books.status.values()) == ["paid", "declined", "paid", "paid", "declined"]
    assert books.balance == {("c-1", "USD"): 0}
    assert books.taken == {"USD": 1000}
    assert_proven(ledger)


def test_each_currency_of_a_customer_has_its_own_account(new_ledger: NewLedger) -> None:
    ledger = new_ledger(partitions=1, opening_balance=1000)
    take_in(ledger, [order("o-1", amount=900), order("o-2", amount=900, currency="EUR")])
    settler(ledger).settle_partition(0)
    assert books_of(ledger).balance == {("c-1", "USD"): 100, ("c-1", "EUR"): 100}
    assert_proven(ledger)


def test_a_message_is_told_by_what_it_is(new_ledger: NewLedger) -> None:
    ledger = new_ledger(partitions=1)
    block = [order(f"o-{number}") for number in range(4)]
    first, second = (message.body for message in take_in(ledger, block, batch_size=2).messages)
    worker = settler(ledger)
    assert worker.settle(b"noise").delivery is Delivery.UNREADABLE
    assert worker.settle(first.replace(ledger.ledger_id.encode(), b"x")).delivery == "foreign"
    assert cursor(ledger).number == 0
    assert worker.settle(second)[:3] == (Delivery.EARLY, 0, 4)
    assert worker.settle(first)[:3] == (Delivery.REDELIVERED, 0, 0)
    assert worker.settle(encode_nudge(ledger.ledger_id, 0))[:3] == (Delivery.NUDGE, 0, 0)
    third = take_in(ledger, [order("o-9")]).messages[0].body
    assert worker.settle(third)[:3] == (Delivery.FRESH, 0, 1)


def test_a_redelivered_message_changes_nothing(new_ledger: NewLedger) -> None:
    ledger = new_ledger(partitions=1)
    (message,) = take_in(ledger, [order("o-1"), order("o-2")]).messages
    settler(ledger).settle(message.body)
    before = dump(ledger)
    assert settler(ledger).settle(message.body).settled == 0
    assert dump(ledger) == before


def test_a_forged_message_settles_what_the_journal_holds(new_ledger: NewLedger) -> None:
    ledger = new_ledger(partitions=1, opening_balance=1000)
    (message,) = take_in(ledger, [order("o-1", amount=700)]).messages
    forged = json.loads(message.body)
    forged["orders"][0]["items"][0]["unit_price"] = 1
    gateway = Scripted()
    stint = settler(ledger, gateway).settle(json.dumps(forged, separators=(",", ":")).encode())
    assert stint[:3] == (Delivery.FORGED, 0, 1)
    assert [charge.amount for charge in gateway.asked] == [700]
    assert books_of(ledger).balance == {("c-1", "USD"): 300}


def test_of_two_workers_that_work_out_the_same_only_one_writes(new_ledger: NewLedger) -> None:
    ledger = new_ledger(partitions=1)
    take_in(ledger, [order("o-1"), order("o-2")])
    settlements = [work_out(settler(ledger, worker=name)) for name in ("one", "two")]
    assert [the_books.write(ledger, each) for each in settlements] == [True, False]
    assert {row[9] for row in dump(ledger)["outcomes"]} == {"one"}
    assert_proven(ledger)


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
        connection.execute(tables.cursors.update().values(retry_at=2**53))
    gateway = Scripted()
    stint = settler(ledger, gateway).settle_partition(0)
    assert stint.settled == 0
    assert stint.due is not None
    assert stint.due > time.monotonic() + 3600
    assert gateway.asked == []


def settle_through(ledger: Ledger, gateway: Gateway, *, max_attempts: int = 5) -> None:
    """Settle to the end, however often the partition waits."""
    worker = settler(ledger, gateway, max_attempts=max_attempts)
    for _ in range(30):
        worker.settle_partition(0)
        make_due(ledger)
    assert cursor(ledger).number == cursor(ledger).head


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


def test_a_batch_that_fails_three_times_is_settled_one_by_one(new_ledger: NewLedger) -> None:
    ledger = new_ledger(partitions=1)
    take_in(ledger, [order(f"o-{number}") for number in range(5)])
    for _ in range(the_books.BATCH_FAILURES):
        work = settler(ledger)._next(0)
        assert work is not None
        assert len(list(work.orders())) == 5
        the_books.record_failure(ledger, 0, "broke", batch_size=4)
    work = settler(ledger)._next(0)
    assert work is not None
    assert len(list(work.orders())) == 1
    the_books.record_failure(ledger, 0, "broke again", batch_size=4)
    settler(ledger).settle_partition(0)
    assert [row[:2] for row in outcomes(ledger)] == [
        ("o-0", "dead"),
        ("o-1", "paid"),
        ("o-2", "paid"),
        ("o-3", "paid"),
        ("o-4", "paid"),
    ]
    assert outcomes(ledger)[0][3] == "invalid: broke again"
    assert cursor(ledger).failures == 0
    assert_proven(ledger)


def test_failures_are_forgotten_where_a_batch_gets_through(new_ledger: NewLedger) -> None:
    ledger = new_ledger(partitions=1)
    take_in(ledger, [order("o-1")])
    the_books.record_failure(ledger, 0, "broke", batch_size=4)
    settler(ledger).settle_partition(0)
    assert (cursor(ledger).failures, cursor(ledger).reason) == (0, None)


def test_open_is_what_the_cursor_has_not_reached(new_ledger: NewLedger) -> None:
    ledger = new_ledger(partitions=2)
    take_in(ledger, [order(f"o-{number}", f"c-{number}") for number in range(9)])
    with ledger.database.read() as connection:
        open_before = {place.partition: place.open for place in positions(connection)}
    settler(ledger).settle_partition(1)
    with ledger.database.read() as connection:
        assert totals(connection).open == open_before[0]
        assert totals(connection).paid == open_before[1]
    assert all(open_before.values())
    assert_proven(ledger)
