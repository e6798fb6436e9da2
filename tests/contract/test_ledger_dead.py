"""Dead letters: they stay counted, and a retry gives them one new number and one new chance."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from services.payment.gateway import LedgerGateway, Paid, PermanentFailure
from services.payment.settle import Settler
from shared.ledger import dead
from shared.ledger.database import tables
from shared.ledger.dead_letters import PAGE, DeadLetter, dead_letters, undecided
from shared.ledger.entries import accepted_orders
from shared.ledger.explain import explain
from shared.ledger.journal import Verdict
from shared.ledger.listing import list_orders
from shared.ledger.positions import read_positions
from shared.ledger.totals import run_totals, totals
from shared.schema import decode_batch
from shared.texts import MOST
from tests.support.ledgers import assert_proven, dump, final_state_of, order, take_in

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from services.payment.gateway import Charge, Declined
    from shared.ledger.ledger import Ledger

    NewLedger = Callable[..., Ledger]


class Picky(LedgerGateway):
    """Refuses some orders for good, until it is told better."""

    def __init__(self, *refused: str) -> None:
        self.refused = set(refused)

    def charge(self, charge: Charge) -> Paid | Declined:
        if charge.order.order_id in self.refused:
            raise PermanentFailure("stolen card")
        return super().charge(charge)


_FAILURE = {"partition": 0, "number": 2, "attempt": 1, "worker": "w", "failed_at": 1}


def settle(ledger: Ledger, gateway: Picky) -> None:
    worker = Settler(ledger, gateway, worker="w-1", batch_size=200, max_attempts=5)
    for partition in range(ledger.partitions):
        worker.settle_partition(partition)


def letters(ledger: Ledger, *order_ids: str) -> list[DeadLetter]:
    with ledger.database.read() as connection:
        return dead_letters(connection, order_ids or None)


def with_dead(ledger: Ledger, *order_ids: str) -> Picky:
    """Settle five orders, some of which die."""
    take_in(ledger, [order(f"o-{number}") for number in range(1, 6)])
    gateway = Picky(*order_ids)
    settle(ledger, gateway)
    return gateway


def test_a_dead_letter_says_why(new_ledger: NewLedger) -> None:
    ledger = new_ledger(partitions=1)
    with_dead(ledger, "o-2", "o-4")
    found = letters(ledger)
    assert [letter.order_id for letter in found] == ["o-2", "o-4"]
    assert {(each.reason, each.attempts, each.amount) for each in found} == {
        ("stolen card", 1, 100)
    }
    assert letters(ledger, "o-4", "o-1", "unknown") == found[1:]
    assert_proven(ledger)


def test_a_retried_order_goes_on_under_a_new_number(new_ledger: NewLedger) -> None:
    ledger = new_ledger(partitions=1)
    gateway = with_dead(ledger, "o-2")
    (message,) = dead.retry(ledger, letters(ledger))
    batch = decode_batch(message.body)
    assert (batch.first, batch.last, batch.orders[0].order_id) == (6, 6, "o-2")
    with ledger.database.read() as connection:
        (place,) = read_positions(connection)
        assert (place.head, place.created, place.open) == (6, 5, 1)
        assert totals(connection).dead == 0
        assert [accepted.order_id for _, _, accepted in accepted_orders(connection)] == [
            "o-1",
            "o-3",
            "o-4",
            "o-5",
            "o-2",
        ]
    assert letters(ledger) == []
    assert_proven(ledger)
    gateway.refused.clear()
    settle(ledger, gateway)
    assert set(final_state_of(ledger).status.values()) == {"paid"}
    with ledger.database.read() as connection:
        story = explain(connection, "o-2")
        assert totals(connection).created == run_totals(connection, "run-1", 5).paid == 5
    assert story is not None
    assert (story["number"], story["status"], story["attempts"]) == (6, "paid", 2)
    assert_proven(ledger)


def test_an_order_may_die_and_be_retried_any_number_of_times(new_ledger: NewLedger) -> None:
    ledger = new_ledger(partitions=1)
    gateway = with_dead(ledger, "o-2")
    for attempts in range(2, 6):
        dead.retry(ledger, letters(ledger))
        assert_proven(ledger)
        settle(ledger, gateway)
        (letter,) = letters(ledger)
        assert letter.attempts == attempts
        assert_proven(ledger)


def test_a_dead_order_that_is_sent_again_is_a_duplicate(new_ledger: NewLedger) -> None:
    ledger = new_ledger(partitions=1)
    with_dead(ledger, "o-2")
    assert take_in(ledger, [order("o-2")]).verdicts == [Verdict.DUPLICATE]
    dead.retry(ledger, letters(ledger))
    assert take_in(ledger, [order("o-2")]).verdicts == [Verdict.DUPLICATE]
    assert_proven(ledger)


def test_retries_at_once_count_as_one(new_ledger: NewLedger) -> None:
    ledger = new_ledger(partitions=2)
    block = [order(f"o-{number}", f"c-{number}") for number in range(20)]
    take_in(ledger, block)
    settle(ledger, Picky(*(each["order_id"] for each in block)))
    seen = letters(ledger)
    start = threading.Barrier(4)
    messages: list[Any] = []

    def retry() -> None:
        start.wait()
        messages.extend(dead.retry(ledger, seen))

    clerks = [threading.Thread(target=retry) for _ in range(4)]
    for clerk in clerks:
        clerk.start()
    for clerk in clerks:
        clerk.join()
    assert len(messages) == 20
    with ledger.database.read() as connection:
        assert totals(connection).open == 20
    assert_proven(ledger)


def test_many_letters_are_retried_page_by_page(new_ledger: NewLedger) -> None:
    ledger = new_ledger(partitions=1)
    block = [order(f"o-{number}") for number in range(PAGE + 3)]
    take_in(ledger, block)
    gateway = Picky(*(each["order_id"] for each in block))
    settle(ledger, gateway)
    assert len(dead.retry(ledger, letters(ledger))) == len(block)
    gateway.refused.clear()
    settle(ledger, gateway)
    assert_proven(ledger)
    assert letters(ledger) == []


def test_a_discarded_order_stays_dead_and_counted(new_ledger: NewLedger) -> None:
    ledger = new_ledger(partitions=1)
    with_dead(ledger, "o-2", "o-4")
    assert dead.discard(ledger, letters(ledger, "o-2")) == 1
    assert dead.discard(ledger, letters(ledger)) == 1
    assert dead.discard(ledger, letters(ledger)) == 0
    assert dead.discard(ledger, []) == 0
    assert all(letter.discarded_at for letter in letters(ledger))
    with ledger.database.read() as connection:
        assert totals(connection).dead == 2
    assert_proven(ledger)


def test_retrying_all_leaves_out_what_was_discarded(new_ledger: NewLedger) -> None:
    ledger = new_ledger(partitions=2)
    block = [order(f"o-{number}", f"c-{number}") for number in range(1, 9)]
    take_in(ledger, block)
    settle(ledger, Picky(*(each["order_id"] for each in block)))
    dead.discard(ledger, letters(ledger, "o-2", "o-7"))
    messages, left, in_doubt = dead.retry_all(ledger)
    assert (len(messages), left, in_doubt) == (6, 2, 0)
    assert [letter.order_id for letter in letters(ledger)] == ["o-2", "o-7"]
    assert dead.retry_all(ledger) == ([], 2, 0)
    assert_proven(ledger)


def test_a_letter_that_was_discarded_since_it_was_read_is_left_out(new_ledger: NewLedger) -> None:
    ledger = new_ledger(partitions=1)
    with_dead(ledger, "o-2", "o-4")
    seen = letters(ledger)
    dead.discard(ledger, letters(ledger, "o-4"))
    (message,) = dead.retry(ledger, seen, undecided_only=True)
    assert decode_batch(message.body).orders[0].order_id == "o-2"
    assert [letter.order_id for letter in letters(ledger)] == ["o-4"]
    assert_proven(ledger)


def test_a_discarded_letter_that_is_named_is_opened_once(new_ledger: NewLedger) -> None:
    ledger = new_ledger(partitions=1)
    with_dead(ledger, "o-2")
    dead.discard(ledger, letters(ledger))
    (letter,) = letters(ledger, "o-2", "o-2")
    assert len(dead.retry(ledger, [letter, letter])) == 1
    assert_proven(ledger)


def test_many_letters_are_discarded_page_by_page(new_ledger: NewLedger) -> None:
    ledger = new_ledger(partitions=1)
    block = [order(f"o-{number}") for number in range(PAGE + 3)]
    take_in(ledger, block)
    settle(ledger, Picky(*(each["order_id"] for each in block)))
    assert dead.discard(ledger, letters(ledger)) == len(block)
    assert dead.retry_all(ledger) == ([], len(block), 0)
    assert_proven(ledger)


def test_what_others_wrote_is_read_short_and_legible(new_ledger: NewLedger) -> None:
    ledger = new_ledger(partitions=1)
    with_dead(ledger, "o-2")
    long = "\x1b[2J\nfake" + "A" * 5_000_000
    with ledger.database.write() as connection:
        connection.execute(tables.outcomes.update().values(reason=long, worker="w\x07"))
        connection.execute(tables.failures.insert().values(_FAILURE | {"reason": long}))
    with ledger.database.read() as connection:
        (letter,), (latest,) = dead_letters(connection), undecided(connection, 9)
        (listed,) = list_orders(ledger, connection, order_id="o-2").orders
        story = explain(connection, "o-2")
    assert story is not None
    told = {event["event"]: event for event in story["history"]}
    reasons = [letter.reason, latest.reason, listed["reason"]]
    reasons += [told["dead"]["reason"], told["failed"]["reason"]]
    for reason in reasons:
        assert reason is not None
        assert len(reason) == MOST
        assert reason.startswith(r"\x1b[2J\nfakeAAA")
    assert told["dead"]["worker"] == r"w\x07"


def test_a_letter_that_is_not_dead_any_more_is_passed_over(new_ledger: NewLedger) -> None:
    ledger = new_ledger(partitions=1)
    with_dead(ledger, "o-2")
    (letter,) = letters(ledger)
    before = dump(ledger)
    stale = letter._replace(number=1)  # of an order that is paid, not dead
    assert dead.retry(ledger, [stale]) == []
    assert dump(ledger) == before
