"""The journal: who gets which number, and what is said to the others."""

from __future__ import annotations

import threading
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.errors import Backlogged, LedgerUnavailable
from shared.ledger import journal as the_journal
from shared.ledger.database import tables
from shared.ledger.entries import accepted_orders
from shared.ledger.journal import Verdict, append, digest
from shared.ledger.positions import read_positions
from shared.schema import decode_batch
from tests.support.ledgers import assert_proven, candidate, dump, order, take_in
from tests.support.strategies import examples

if TYPE_CHECKING:
    from collections.abc import Callable

    from shared.ledger.ledger import Ledger

    NewLedger = Callable[..., Ledger]

PARTITIONS = 3
# Few ids, customers and contents, so that the same ones meet again.
asked = st.builds(
    order,
    st.sampled_from("abcdefghijkl"),
    st.sampled_from(["c-1", "c-2", "c-3", "c-4"]),
    st.sampled_from([1, 2]),
)


@settings(deadline=None, max_examples=examples(25))
@given(
    blocks=st.lists(st.tuples(st.booleans(), st.lists(asked, max_size=8)), max_size=6),
    batch_size=st.integers(1, 4),
    max_pending=st.integers(1, 20),
)
def test_identities_are_won_once_and_numbers_have_no_gap(
    new_ledger: NewLedger,
    blocks: list[tuple[bool, list[dict[str, Any]]]],
    batch_size: int,
    max_pending: int,
) -> None:
    ledger = new_ledger(partitions=PARTITIONS)
    winners: dict[str, dict[str, Any]] = {}
    for partly, block in blocks:
        room = max_pending - len(winners)
        before = dump(ledger)
        expected, new = judge(block, winners, room)
        limits: dict[str, Any] = {
            "batch_size": batch_size,
            "max_pending": max_pending,
            "partly": partly,
        }
        if Verdict.NO_ROOM in expected and not partly:
            with pytest.raises(Backlogged) as full:
                take_in(ledger, block, **limits)
            assert full.value.room == room
            assert dump(ledger) == before
            continue
        winners |= new
        appended = take_in(ledger, block, **limits)
        assert appended.verdicts == expected
        if not new:
            assert dump(ledger) == before
        numbers = Counter(candidate(ledger, each).partition for each in winners.values())
        for partition, end in appended.ends.items():
            assert end == numbers[partition]
        for message in appended.messages:
            batch = decode_batch(message.body)
            assert (batch.ledger_id, batch.partition) == (ledger.ledger_id, message.partition)
            assert 1 <= len(batch.orders) <= batch_size
            assert batch.last <= appended.ends[message.partition]
    assert len(winners) <= max_pending
    assert_numbered(ledger, winners)


def judge(
    block: list[dict[str, Any]], winners: dict[str, dict[str, Any]], room: int
) -> tuple[list[Verdict], dict[str, dict[str, Any]]]:
    """Predict the verdicts, and the orders that are new."""
    verdicts = []
    new: dict[str, dict[str, Any]] = {}
    for wanted in block:
        winner = (winners | new).get(wanted["order_id"])
        if winner is not None:
            verdicts.append(Verdict.DUPLICATE if winner == wanted else Verdict.CONFLICT)
        elif len(new) < room:
            new[wanted["order_id"]] = wanted
            verdicts.append(Verdict.CREATED)
        else:
            verdicts.append(Verdict.NO_ROOM)
    return verdicts, new


def assert_numbered(ledger: Ledger, winners: dict[str, dict[str, Any]]) -> None:
    """Every winner is in the journal once, per partition from 1 on and in order of arrival."""
    with ledger.database.read() as connection:
        accepted = list(accepted_orders(connection))
        places = read_positions(connection)
    arrived = [candidate(ledger, wanted) for wanted in winners.values()]
    for place in places:
        ours = [each.order_id for each in arrived if each.partition == place.partition]
        found = [
            (number, accepted_order.order_id)
            for partition, number, accepted_order in accepted
            if partition == place.partition
        ]
        assert found == list(enumerate(ours, 1))
        assert (place.head, place.cursor, place.created) == (len(ours), 0, len(ours))
        assert place.open == len(ours)
    assert [place.partition for place in places] == list(range(ledger.partitions))
    assert len(accepted) == len(winners)
    assert_proven(ledger)


def test_entries_are_the_messages_and_respect_the_batch_size(new_ledger: NewLedger) -> None:
    ledger = new_ledger(partitions=1)
    appended = take_in(ledger, [order(f"o-{number}") for number in range(7)], batch_size=3)
    entries = dump(ledger)["journal"]
    assert [(first, last) for _, first, last, *_ in entries] == [(1, 3), (4, 6), (7, 7)]
    assert [entry[-1] for entry in entries] == [message.body for message in appended.messages]
    assert all(digest(entry[-1]) == entry[3] for entry in entries)


def test_huge_orders_are_cut_by_their_bytes(new_ledger: NewLedger) -> None:
    ledger = new_ledger(partitions=1)
    line = {"sku": "x" * 64, "quantity": 1, "unit_price": 1}
    block = [order(f"o-{number}") | {"items": (line,) * 500} for number in range(20)]
    messages = take_in(ledger, block).messages
    sizes = [len(message.body) for message in messages]
    one = len(candidate(ledger, block[0]).body)
    assert len(messages) > 1
    assert max(sizes) < the_journal.ENTRY_BYTES + one + 200
    assert_proven(ledger)


def test_the_same_candidate_twice_in_a_block_is_its_own_duplicate(new_ledger: NewLedger) -> None:
    ledger = new_ledger()
    same = candidate(ledger, order("o-1"))
    appended = append(ledger, lambda: [same, same], run_id="r", batch_size=10, max_pending=10)
    assert appended.verdicts == [Verdict.CREATED, Verdict.DUPLICATE]
    assert_proven(ledger)


def test_an_empty_block_changes_nothing(new_ledger: NewLedger) -> None:
    ledger = new_ledger()
    before = dump(ledger)
    assert take_in(ledger, [], max_pending=1) == ([], [], {})
    assert dump(ledger) == before


def test_a_block_that_just_fits_is_accepted(new_ledger: NewLedger) -> None:
    ledger = new_ledger()
    take_in(ledger, [order("o-1"), order("o-2")], max_pending=2)
    with pytest.raises(Backlogged) as full:
        take_in(ledger, [order("o-3")], max_pending=2)
    assert full.value.room == 0


def test_a_block_whose_transaction_breaks_leaves_nothing(
    new_ledger: NewLedger, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = new_ledger()
    before = dump(ledger)

    def cut_short(*_: object) -> None:
        raise InterruptedError

    with monkeypatch.context() as broken:
        broken.setattr(the_journal, "_cut", cut_short)
        with pytest.raises(InterruptedError):
            take_in(ledger, [order("o-1")])
    assert dump(ledger) == before
    assert take_in(ledger, [order("o-1")]).verdicts == [Verdict.CREATED]


def test_an_id_that_another_producer_wins_meanwhile_is_judged_anew(
    new_ledger: NewLedger, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = new_ledger(partitions=2)
    take_in(ledger, [order("o-1", "c-1", 1)])
    look, looked = the_journal._known, []

    def look_too_early(*arguments: Any) -> dict[str, bytes]:
        looked.append(arguments)
        return {} if len(looked) == 1 else look(*arguments)

    monkeypatch.setattr(the_journal, "_known", look_too_early)
    block = [order("o-2", "c-2"), order("o-1", "c-2", 2), order("o-1", "c-1", 1)]
    assert take_in(ledger, block).verdicts == [
        Verdict.CREATED,
        Verdict.CONFLICT,
        Verdict.DUPLICATE,
    ]
    assert len(looked) == 2
    assert_proven(ledger)


def test_producers_at_once_share_identities_and_numbers(new_ledger: NewLedger) -> None:
    ledger = new_ledger(partitions=2)
    # Each producer has its own customer for the same ids: only one of them can win.
    verdicts: list[list[Verdict]] = [[] for _ in range(4)]
    start = threading.Barrier(4)

    def produce(own: int) -> None:
        start.wait()
        ids = [f"o-{number}" for number in range(own, 60 + own)]
        for at in range(0, 60, 5):
            block = [order(order_id, f"customer-{own}") for order_id in ids[at : at + 5]]
            verdicts[own] += take_in(ledger, block, batch_size=2).verdicts

    producers = [threading.Thread(target=produce, args=(own,)) for own in range(4)]
    for producer in producers:
        producer.start()
    for producer in producers:
        producer.join()
    found = Counter(verdict for each in verdicts for verdict in each)
    assert found == {Verdict.CREATED: 63, Verdict.CONFLICT: 240 - 63}
    with ledger.database.read() as connection:
        assert sum(place.head for place in read_positions(connection)) == 63
    assert_proven(ledger)


def test_an_error_of_the_database_does_not_tell_what_is_in_an_order(new_ledger: NewLedger) -> None:
    ledger = new_ledger()
    account = {
        "partition": 0,
        "account": "customer/ada-lovelace/USD",
        "kind": "customer",
        "currency": "USD",
        "balance": 1,
        "opened_at": 1,
    }
    with (
        pytest.raises(sa.exc.IntegrityError) as twice,
        ledger.database.write(judges=True) as connection,
    ):
        connection.execute(tables.accounts.insert(), [account, account])
    with pytest.raises(LedgerUnavailable) as again, ledger.database.write() as connection:
        connection.execute(tables.accounts.insert(), [account, account])
    for error in twice, again:
        assert "accounts" in str(error.value)
        assert "ada-lovelace" not in str(error.value)
