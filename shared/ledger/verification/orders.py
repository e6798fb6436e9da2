"""Verification, order by order: journal, identities and outcomes, held against each other."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import sqlalchemy as sa

from shared.errors import InvalidBatch
from shared.ledger.accounts import customer_account, merchant_account
from shared.ledger.database.tables import identities, journal, outcomes, pending, transfers
from shared.ledger.journal import digest
from shared.ledger.verification.proof import PAGE, Counts, Homes, Proof
from shared.schema import Order, decode_batch, encode_order

if TYPE_CHECKING:
    from collections.abc import Iterator

    from shared.ledger.positions import Position


class Numbered(NamedTuple):
    """An order as the journal has it."""

    partition: int
    number: int
    order: Order

    @property
    def where(self) -> str:
        """Say which order this is."""
        return f"order {self.order.order_id} (partition {self.partition}, number {self.number})"


ENTRIES = sa.select(
    journal.c.partition, journal.c.first, journal.c.last, journal.c.digest, journal.c.body
).order_by(journal.c.partition, journal.c.first)


def read_entries(
    connection: sa.Connection,
    proof: Proof,
    positions: list[Position],
    ends: dict[int, int],
    entries: sa.Select[Any] = ENTRIES,
) -> Iterator[Numbered]:
    """Yield the orders of journal entries; check that numbers have no gap and bytes are sound.

    Args:
        connection: One snapshot.
        proof: Where violations go.
        positions: The partitions that are read to their ends.
        ends: The number before the first that is read, by partition; moved along.
        entries: Which.
    """
    rows = connection.execution_options(yield_per=16).execute(entries)
    for partition, first, last, known, body in rows:
        proof.advance(last - first + 1)
        where = f"partition {partition}, numbers {first} to {last}"
        if first != ends.get(partition, 0) + 1:
            proof.add("numbers", where, f"follow on {ends.get(partition, 0)}")
        ends[partition] = last
        if digest(body) != known:
            proof.add("journal", where, "the entry's bytes are not those that were accepted")
        try:
            batch = decode_batch(body)
        except InvalidBatch as error:
            proof.add("journal", where, f"the entry cannot be read: {error}")
            continue
        if (batch.partition, batch.first, batch.last) != (partition, first, last):
            proof.add("journal", where, "the entry holds other numbers")
        for number, order in enumerate(batch.orders, first):
            yield Numbered(partition, number, order)
    for position in positions:
        if ends[position.partition] != position.head:
            proof.add(
                "numbers",
                f"partition {position.partition}",
                f"the head says {position.head}, the journal ends at {ends[position.partition]}",
            )


OUTCOMES = (
    sa.select(
        outcomes.c.partition,
        outcomes.c.number,
        outcomes.c.order_id,
        outcomes.c.status,
        outcomes.c.amount,
        outcomes.c.currency,
        outcomes.c.doubtful_since,
        transfers.c.debit,
        transfers.c.credit,
        transfers.c.amount.label("moved"),
        transfers.c.currency.label("moved_currency"),
    )
    .outerjoin(transfers, transfers.c.order_id == outcomes.c.order_id)
    .order_by(outcomes.c.partition, outcomes.c.number)
)
PENDING = sa.select(
    pending.c.partition,
    pending.c.number,
    pending.c.order_id,
    pending.c.customer_id,
    pending.c.state,
    pending.c.doubtful_since,
).order_by(pending.c.partition, pending.c.number)
_IDENTITIES = sa.select(identities).order_by(identities.c.partition, identities.c.number)


def check_orders(
    connection: sa.Connection, proof: Proof, positions: list[Position]
) -> tuple[Counts, Homes]:
    """Hold orders, identities and outcomes against each other; count the outcomes."""
    cursors = {position.partition: position.cursor for position in positions}
    streaming = connection.execution_options(yield_per=PAGE)
    names = Stream(streaming.execute(_IDENTITIES), proof, "identity")
    results = Stream(streaming.execute(OUTCOMES), proof, "outcome")
    waiting = Stream(streaming.execute(PENDING), proof, "pending")
    counted: Counts = {}
    homes: Homes = {}
    ends = {position.partition: 0 for position in positions}
    for entry in read_entries(connection, proof, positions, ends):
        key = entry.partition, entry.number
        homes[customer_account(entry.order.customer_id, entry.order.currency)] = key[0]
        identity, outcome = names.take(key), results.take(key)
        check_outcome(proof, entry, outcome, counted)
        check_progress(proof, entry, outcome, waiting.take(key), cursors.get(entry.partition, 0))
        is_superseded = outcome is not None and outcome.status == "retried"
        if identity is None:
            if not is_superseded:
                proof.add("identity", entry.where, "the order has no identity, or another number")
        elif identity.order_id != entry.order.order_id or is_superseded:
            proof.add("identity", entry.where, f"the number belongs to {identity.order_id}")
        elif identity.digest != digest(encode_order(entry.order)):
            proof.add("identity", entry.where, "its identity has the digest of other content")
    names.finish()
    results.finish()
    waiting.finish()
    return counted, homes


class Stream:
    """Rows sorted by partition and number, taken in step with the journal."""

    def __init__(self, rows: sa.CursorResult[Any], proof: Proof, what: str) -> None:
        self._rows = iter(rows)
        self._next = next(self._rows, None)
        self._proof = proof
        self._what = what

    def take(self, key: tuple[int, int]) -> Any:  # noqa: ANN401  a row of one of two queries
        """Return the row at a key, or None; report those before it, which the journal lacks."""
        while self._next is not None and (self._next.partition, self._next.number) < key:
            self._report(self._next)
        if self._next is None or (self._next.partition, self._next.number) != key:
            return None
        row, self._next = self._next, next(self._rows, None)
        while self._next is not None and (self._next.partition, self._next.number) == key:
            if self._next.order_id == row.order_id:
                # Only a transfer can be there twice, and only where its unique index is gone.
                self._proof.add("transfer", f"order {row.order_id}", "was moved more than once")
            else:
                where = f"order {self._next.order_id} (partition {key[0]}, number {key[1]})"
                self._proof.add(self._what, where, f"the number belongs to {row.order_id}, too")
            self._next = next(self._rows, None)
        return row

    def finish(self) -> None:
        """Report what is left when the journal has ended."""
        while self._next is not None:
            self._report(self._next)

    def _report(self, row: sa.Row[Any]) -> None:
        where = f"order {row.order_id} (partition {row.partition}, number {row.number})"
        self._proof.add(self._what, where, "the journal has no such number")
        self._next = next(self._rows, None)


def check_outcome(
    proof: Proof,
    entry: Numbered,
    outcome: Any,  # noqa: ANN401  a row of OUTCOMES, or None
    counted: Counts,
) -> None:
    """Hold what became of an order against the order; count it."""
    if outcome is None:
        return
    kind = entry.partition, outcome.status, outcome.currency
    orders, amount = counted.get(kind, (0, 0))
    counted[kind] = orders + 1, amount + outcome.amount
    _check_money(proof, entry, outcome)
    if outcome.doubtful_since is not None and outcome.status in {"paid", "declined"}:
        proof.add("outcome", entry.where, f"is {outcome.status} and in doubt")


def check_progress(
    proof: Proof,
    entry: Numbered,
    outcome: Any,  # noqa: ANN401  a row of OUTCOMES, or None
    row: Any,  # noqa: ANN401  a row of PENDING, or None
    cursor: int,
) -> None:
    """Hold an order's outcome, or its row among those that wait for one, against the cursor."""
    is_taken_up = entry.number <= cursor
    if outcome is not None and row is not None:
        proof.add("pending", entry.where, "has an outcome, and waits for one")
    elif is_taken_up != (outcome is not None or row is not None):
        state = "has passed it, but it has no outcome" if is_taken_up else "has not come there"
        proof.add("cursor", entry.where, f"the cursor {state}")
    if row is None:
        return
    if (row.order_id, row.customer_id) != (entry.order.order_id, entry.order.customer_id):
        said = f"order {row.order_id} of {row.customer_id}"
        proof.add("pending", entry.where, f"what waits there is {said}")
    if row.state == "doubt" and row.doubtful_since is None:
        proof.add("pending", entry.where, "is in doubt, and does not say since when")


def _check_money(proof: Proof, entry: Numbered, outcome: Any) -> None:  # noqa: ANN401
    order, where = entry.order, entry.where
    if outcome.order_id != order.order_id:
        proof.add("outcome", where, f"the outcome is that of order {outcome.order_id}")
        return
    if (outcome.amount, outcome.currency) != (order.total, order.currency):
        proof.add(
            "outcome",
            where,
            f"costs {order.total} {order.currency}, settled as {outcome.amount} {outcome.currency}",
        )
    if outcome.status != "paid":
        return
    if outcome.moved is None:
        proof.add("transfer", where, "is paid, but its transfer is missing")
        return
    if (outcome.moved, outcome.moved_currency) != (order.total, order.currency):
        proof.add(
            "transfer",
            where,
            f"costs {order.total} {order.currency}, "
            f"but {outcome.moved} {outcome.moved_currency} were moved",
        )
    payer = customer_account(order.customer_id, order.currency)
    if (outcome.debit, outcome.credit) != (payer, merchant_account(order.currency)):
        proof.add("transfer", where, f"was moved from {outcome.debit} to {outcome.credit}")
