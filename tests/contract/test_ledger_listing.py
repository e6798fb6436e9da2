"""Listing: every accepted order once, the latest first, whatever is asked for and page by page."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.payment.gateway import LedgerGateway, Paid, PermanentFailure
from services.payment.settle import Settler
from shared.ledger.dead import retry
from shared.ledger.dead_letters import dead_letters
from shared.ledger.entries import accepted_orders
from shared.ledger.listing import Listed, list_orders, parse_cursor, statuses
from tests.support.ledgers import final_state_of, order, take_in
from tests.support.strategies import examples

if TYPE_CHECKING:
    from collections.abc import Callable

    from services.payment.gateway import Charge, Declined
    from shared.ledger.ledger import Ledger

    NewLedger = Callable[..., Ledger]


class ThirteenIsUnlucky(LedgerGateway):
    """Lets an order of 13 die, until it is retried."""

    def charge(self, charge: Charge) -> Paid | Declined:
        if charge.amount == 13 and charge.attempt == 1:
            raise PermanentFailure("unlucky")
        return super().charge(charge)


def settle(ledger: Ledger, partition: int) -> None:
    worker = Settler(ledger, ThirteenIsUnlucky(), worker="w-1", batch_size=3, max_attempts=5)
    worker.settle_partition(partition)


def pages(ledger: Ledger, limit: int, **wanted: Any) -> list[Listed]:
    """Read on, page by page, to the end."""
    found: list[Listed] = []
    after = None
    while True:
        with ledger.database.read() as connection:
            page = list_orders(ledger, connection, after=after, limit=limit, **wanted)
        assert len(page.orders) <= limit
        found += page.orders
        if page.after is None:
            return found
        assert len(page.orders) == limit
        after = parse_cursor(str(page.after))


CUSTOMERS = [f"c-{number}" for number in range(4)]
STATUSES = [None, "open", "paid", "declined", "dead"]
amounts = st.sampled_from([0, 13, 90_000])
# A block of orders comes in, or a partition is settled, or the dead are retried.
steps = st.lists(
    st.one_of(
        st.lists(st.tuples(st.sampled_from(CUSTOMERS), amounts), min_size=1, max_size=7),
        st.integers(0, 1),
        st.just("retry"),
    ),
    max_size=10,
)


@settings(deadline=None, max_examples=examples(15))
@given(steps=steps, limit=st.integers(1, 5))
def test_every_order_is_listed_once_in_its_place(
    new_ledger: NewLedger, steps: list[Any], limit: int
) -> None:
    ledger = new_ledger(partitions=2)
    count = 0
    for step in steps:
        if step == "retry":
            with ledger.database.read() as connection:
                letters = dead_letters(connection)
            retry(ledger, letters)
        elif isinstance(step, int):
            settle(ledger, step)
        else:
            block = [order(f"o-{count + at}", *what) for at, what in enumerate(step)]
            count += len(block)
            take_in(ledger, block, batch_size=3)
    everything = pages(ledger, limit)
    assert sorted(each["order_id"] for each in everything) == sorted(
        f"o-{number}" for number in range(count)
    )
    assert everything == sorted(
        everything, key=lambda each: (each["accepted_at"], each["partition"]), reverse=True
    )
    now = final_state_of(ledger).status
    assert {each["order_id"]: each["status"] for each in everything} == {
        each["order_id"]: now.get(each["order_id"], "open") for each in everything
    }
    with ledger.database.read() as connection:
        assert [
            (each["partition"], each["number"], each["order_id"])
            for each in sorted(everything, key=lambda each: (each["partition"], each["number"]))
        ] == [(place, number, each.order_id) for place, number, each in accepted_orders(connection)]
    for status in STATUSES:
        for customer in [None, *CUSTOMERS]:
            assert pages(ledger, limit, status=status, customer_id=customer) == [
                each
                for each in everything
                if status in {None, each["status"]} and customer in {None, each["customer_id"]}
            ]


def test_an_order_is_listed_with_what_is_known_of_it(new_ledger: NewLedger) -> None:
    ledger = new_ledger(partitions=1)
    take_in(ledger, [order("o-1", "ada", 13, "EUR")])
    settle(ledger, 0)
    (found,) = pages(ledger, 50)
    assert (found["status"], found["reason"], found["attempts"]) == ("dead", "unlucky", 1)
    assert (found["total"], found["currency"], found["partition"], found["number"]) == (
        13,
        "EUR",
        0,
        1,
    )
    assert found["settled_at"] is not None
    assert found["accepted_at"] <= found["settled_at"]


def test_a_customer_is_found_by_the_whole_name_only(new_ledger: NewLedger) -> None:
    ledger = new_ledger(partitions=1)
    sneaky = order("o-3", "eve") | {
        "items": ({"sku": '"customer_id":"ada"', "quantity": 1, "unit_price": 1},)
    }
    take_in(ledger, [order("o-1", "ada"), order("o-2", "ada2"), sneaky])
    assert [each["order_id"] for each in pages(ledger, 1, customer_id="ada")] == ["o-1"]


@pytest.mark.parametrize("text", ["", "1-2", "1-2-3-4", "a-b-c", "-1-2-3", "1-2-3\n", "1-2-\uff13"])
def test_a_cursor_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="cursor of an earlier page"):
        parse_cursor(text)


def test_present_statuses_are_looked_up_at_once(new_ledger: NewLedger) -> None:
    ledger = new_ledger(partitions=1)
    take_in(ledger, [order("o-1"), order("o-2", amount=10**9), order("o-3", amount=13)])
    settle(ledger, 0)
    take_in(ledger, [order("o-4")])
    with ledger.database.read() as connection:
        assert statuses(ledger, connection, ["o-1", "o-2", "o-3", "o-4", "o-5"]) == {
            "o-1": "paid",
            "o-2": "declined",
            "o-3": "dead",
            "o-4": "open",
        }
