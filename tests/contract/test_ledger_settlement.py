"""Settlement, rule by rule: what a message is taken for, and what is settled when."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from services.payment.next_batch import Delivery
from shared.ledger.positions import read_positions
from shared.ledger.settlement import BATCH_FAILURES, record_failure, write
from shared.ledger.totals import totals
from shared.schema import encode_nudge
from tests.support.ledgers import assert_proven, dump, final_state_of, order, take_in
from tests.support.settling import Scripted, cursor, outcomes, settler, work_out

if TYPE_CHECKING:
    from collections.abc import Callable

    from shared.ledger.ledger import Ledger

    NewLedger = Callable[..., Ledger]


def test_orders_are_paid_in_their_order_as_far_as_the_money_goes(new_ledger: NewLedger) -> None:
    ledger = new_ledger(partitions=1, opening_balance=1000)
    amounts = [400, 700, 600, 0, 1]
    take_in(ledger, [order(f"o-{n}", amount=amount) for n, amount in enumerate(amounts)])
    visit = settler(ledger).settle_partition(0)
    assert (visit.settled, visit.due) == (5, None)
    final_state = final_state_of(ledger)
    assert list(final_state.status.values()) == ["paid", "declined", "paid", "paid", "declined"]
    assert final_state.balance == {("c-1", "USD"): 0}
    assert final_state.taken == {"USD": 1000}
    assert_proven(ledger)


def test_each_currency_of_a_customer_has_its_own_account(new_ledger: NewLedger) -> None:
    ledger = new_ledger(partitions=1, opening_balance=1000)
    take_in(ledger, [order("o-1", amount=900), order("o-2", amount=900, currency="EUR")])
    settler(ledger).settle_partition(0)
    assert final_state_of(ledger).balance == {("c-1", "USD"): 100, ("c-1", "EUR"): 100}
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
    visit = settler(ledger, gateway).settle(json.dumps(forged, separators=(",", ":")).encode())
    assert visit[:3] == (Delivery.FORGED, 0, 1)
    assert [charge.amount for charge in gateway.asked] == [700]
    assert final_state_of(ledger).balance == {("c-1", "USD"): 300}


def test_of_two_workers_that_work_out_the_same_only_one_writes(new_ledger: NewLedger) -> None:
    ledger = new_ledger(partitions=1)
    take_in(ledger, [order("o-1"), order("o-2")])
    settlements = [work_out(settler(ledger, worker=name)) for name in ("one", "two")]
    assert [write(ledger, each) for each in settlements] == [True, False]
    assert {row[9] for row in dump(ledger)["outcomes"]} == {"one"}
    assert_proven(ledger)


def test_a_batch_that_fails_three_times_is_settled_one_by_one(new_ledger: NewLedger) -> None:
    ledger = new_ledger(partitions=1)
    take_in(ledger, [order(f"o-{number}") for number in range(5)])
    for _ in range(BATCH_FAILURES):
        work = settler(ledger).prepare(0)
        assert work is not None
        assert len(list(work.orders())) == 5
        record_failure(ledger, 0, "broke", batch_size=4)
    work = settler(ledger).prepare(0)
    assert work is not None
    assert len(list(work.orders())) == 1
    record_failure(ledger, 0, "broke again", batch_size=4)
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
    record_failure(ledger, 0, "broke", batch_size=4)
    settler(ledger).settle_partition(0)
    assert (cursor(ledger).failures, cursor(ledger).reason) == (0, None)


def test_open_is_what_the_cursor_has_not_reached(new_ledger: NewLedger) -> None:
    ledger = new_ledger(partitions=2)
    take_in(ledger, [order(f"o-{number}", f"c-{number}") for number in range(9)])
    with ledger.database.read() as connection:
        open_before = {place.partition: place.open for place in read_positions(connection)}
    settler(ledger).settle_partition(1)
    with ledger.database.read() as connection:
        assert totals(connection).open == open_before[0]
        assert totals(connection).paid == open_before[1]
    assert all(open_before.values())
    assert_proven(ledger)
