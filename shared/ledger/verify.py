"""The proof: everything that the ledger claims, worked out again from its journal and transfers.

One snapshot, one pass: the journal's orders, the identities and the outcomes come sorted by
partition and number, and are held against each other; then the books are added up.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import sqlalchemy as sa

from shared.errors import InvalidBatch
from shared.ledger import postings as books
from shared.ledger.journal import Position, digest, positions
from shared.ledger.reports import Totals, totals
from shared.ledger.tables import (
    HOUSE,
    LOW_BITS,
    accounts,
    identities,
    journal,
    outcomes,
    tallies,
    transfers,
)
from shared.schema import Order, decode_batch, encode_order

if TYPE_CHECKING:
    from collections.abc import Iterator

    from shared.ledger.opening import Ledger

MOST_VIOLATIONS = 100
"""So many are told one by one; a ledger that was damaged on purpose could have millions."""

_PAGE = 2000


class Violation(NamedTuple):
    """A rule that the ledger breaks: which, where, and how."""

    check: str
    where: str
    message: str


@dataclass
class Proof:
    """What verification found.

    Attributes:
        totals: The whole ledger's, from its counters.
        violations: Empty if the books are right; open orders are no violation.
        more: Violations that are not listed.
    """

    totals: Totals
    violations: list[Violation] = field(default_factory=list)
    more: int = 0

    @property
    def ok(self) -> bool:
        """Whether nothing was found."""
        return not self.violations

    def add(self, check: str, where: str, message: str) -> None:
        """Note a violation."""
        if len(self.violations) < MOST_VIOLATIONS:
            self.violations.append(Violation(check, where, message))
        else:
            self.more += 1

    def as_dict(self) -> dict[str, Any]:
        """The proof under the names that the commands print."""
        listed = [violation._asdict() for violation in self.violations]
        if self.more:
            rest = Violation("more", "ledger", f"and {self.more:,} more")
            listed.append(rest._asdict())
        return {"ok": self.ok, **self.totals.as_dict(), "violations": listed}


def verify(ledger: Ledger, connection: sa.Connection) -> Proof:
    """Prove the ledger, in the snapshot that ``connection`` is reading."""
    proof = Proof(totals(connection))
    places = positions(connection)
    counted, homes = _check_orders(connection, proof, places)
    _check_tallies(connection, proof, counted)
    _check_heads(ledger, connection, proof, places)
    _check_books(ledger, connection, proof, homes)
    _check_equation(proof)
    return proof


class _Numbered(NamedTuple):
    """An order as the journal has it."""

    partition: int
    number: int
    order: Order

    @property
    def where(self) -> str:
        return f"order {self.order.order_id} (partition {self.partition}, number {self.number})"


def _journal(
    connection: sa.Connection, proof: Proof, places: list[Position]
) -> Iterator[_Numbered]:
    """Yield the journal's orders; check that its numbers have no gap and its bytes are sound."""
    ends = {place.partition: 0 for place in places}
    rows = connection.execution_options(yield_per=16).execute(
        sa.select(
            journal.c.partition, journal.c.first, journal.c.last, journal.c.digest, journal.c.body
        ).order_by(journal.c.partition, journal.c.first)
    )
    for partition, first, last, known, body in rows:
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
            yield _Numbered(partition, number, order)
    for place in places:
        if ends[place.partition] != place.head:
            proof.add(
                "numbers",
                f"partition {place.partition}",
                f"the head says {place.head}, the journal ends at {ends[place.partition]}",
            )


_OUTCOMES = (
    sa.select(
        outcomes.c.partition,
        outcomes.c.number,
        outcomes.c.order_id,
        outcomes.c.status,
        outcomes.c.amount,
        outcomes.c.currency,
        transfers.c.debit,
        transfers.c.credit,
        transfers.c.amount.label("moved"),
        transfers.c.currency.label("moved_currency"),
    )
    .outerjoin(transfers, transfers.c.order_id == outcomes.c.order_id)
    .order_by(outcomes.c.partition, outcomes.c.number)
)
_IDENTITIES = sa.select(identities).order_by(identities.c.partition, identities.c.number)


# Orders and their amount, by partition, status and currency.
_Counts = dict[tuple[int, str, str], tuple[int, int]]
# The partition of each account that an order may have been charged to.
_Homes = dict[str, int]


def _check_orders(
    connection: sa.Connection, proof: Proof, places: list[Position]
) -> tuple[_Counts, _Homes]:
    """Hold orders, identities and outcomes against each other; count the outcomes."""
    cursors = {place.partition: place.cursor for place in places}
    streaming = connection.execution_options(yield_per=_PAGE)
    names = _Stream(streaming.execute(_IDENTITIES), proof, "identity")
    results = _Stream(streaming.execute(_OUTCOMES), proof, "outcome")
    counted: _Counts = {}
    homes: _Homes = {}
    for entry in _journal(connection, proof, places):
        key = entry.partition, entry.number
        homes[books.customer_account(entry.order.customer_id, entry.order.currency)] = key[0]
        identity, outcome = names.take(key), results.take(key)
        is_settled = entry.number <= cursors.get(entry.partition, 0)
        if outcome is not None:
            kind = entry.partition, outcome.status, outcome.currency
            orders, amount = counted.get(kind, (0, 0))
            counted[kind] = orders + 1, amount + outcome.amount
            _check_outcome(proof, entry, outcome)
        if is_settled != (outcome is not None):
            state = "has passed it, but it has no outcome" if is_settled else "has not come there"
            proof.add("cursor", entry.where, f"the cursor {state}")
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
    return counted, homes


class _Stream:
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


def _check_outcome(proof: Proof, entry: _Numbered, outcome: Any) -> None:  # noqa: ANN401
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
    payer = books.customer_account(order.customer_id, order.currency)
    if (outcome.debit, outcome.credit) != (payer, books.merchant_account(order.currency)):
        proof.add("transfer", where, f"was moved from {outcome.debit} to {outcome.credit}")


def _check_tallies(connection: sa.Connection, proof: Proof, counted: _Counts) -> None:
    kept = {
        (row.partition, row.status, row.currency): (
            row.orders,
            (row.amount_high << LOW_BITS) + row.amount_low,
        )
        for row in connection.execute(sa.select(tallies))
    }
    found = {kind: count for kind, count in counted.items() if kind[1] != "retried"}
    for kind in sorted(kept.keys() | found.keys()):
        said, is_so = kept.get(kind, (0, 0)), found.get(kind, (0, 0))
        if said != is_so:
            partition, status, currency = kind
            proof.add(
                "tally",
                f"partition {partition}, {status} in {currency}",
                f"{is_so[0]} orders of {is_so[1]} are, the tally says {said[0]} of {said[1]}",
            )


def _check_heads(
    ledger: Ledger, connection: sa.Connection, proof: Proof, places: list[Position]
) -> None:
    for partition in sorted(set(range(ledger.partitions)) - {place.partition for place in places}):
        proof.add("numbers", f"partition {partition}", "its head or its cursor is missing")
    rows = connection.execute(
        sa.select(identities.c.partition, sa.func.count()).group_by(identities.c.partition)
    )
    known: dict[int, int] = dict(rows.all())
    for place in places:
        if place.created != known.get(place.partition, 0):
            proof.add(
                "identity",
                f"partition {place.partition}",
                f"{place.created} orders were created, {known.get(place.partition, 0)} are known",
            )
        if place.cursor > place.head:
            proof.add(
                "cursor",
                f"partition {place.partition}",
                f"the cursor is at {place.cursor}, beyond the head at {place.head}",
            )


_STRAY_TRANSFERS = (
    sa.select(transfers.c.transfer_id, transfers.c.order_id)
    .outerjoin(identities, identities.c.order_id == transfers.c.order_id)
    .outerjoin(
        outcomes,
        (outcomes.c.partition == identities.c.partition)
        & (outcomes.c.number == identities.c.number),
    )
    .where(transfers.c.order_id.is_not(None), sa.func.coalesce(outcomes.c.status, "open") != "paid")
)


def _check_books(ledger: Ledger, connection: sa.Connection, proof: Proof, homes: _Homes) -> None:
    """Add up every account, in Python's integers, which have no largest."""
    for transfer_id, order_id in connection.execute(_STRAY_TRANSFERS):
        proof.add(
            "transfer", f"order {order_id}", f"transfer {transfer_id} is of no order that is paid"
        )
    sums: Counter[str] = Counter()
    openings: Counter[str] = Counter()
    moved: Counter[str] = Counter()
    streaming = connection.execution_options(yield_per=_PAGE)
    for row in streaming.execute(sa.select(transfers)):
        sums[row.debit] -= row.amount
        sums[row.credit] += row.amount
        if row.order_id is None:
            openings[row.credit] += 1
            bank = books.bank_account(row.currency)
            if (row.debit, row.amount) != (bank, ledger.opening_balance):
                proof.add(
                    "transfer",
                    f"transfer {row.transfer_id}",
                    f"is of no order, and does not open an account with {ledger.opening_balance}",
                )
        else:
            moved[row.currency] += row.amount
    if {name: amount for name, amount in moved.items() if amount} != {
        name: amount for name, amount in proof.totals.paid_amount.items() if amount
    }:
        proof.add(
            "tally",
            "paid amount",
            f"transfers move {dict(moved)}, the tallies say {proof.totals.paid_amount}",
        )
    _check_accounts(streaming, proof, homes, sums, openings)


def _check_accounts(
    connection: sa.Connection,
    proof: Proof,
    homes: _Homes,
    sums: Counter[str],
    openings: Counter[str],
) -> None:
    for row in connection.execute(sa.select(accounts)):
        total = sums.pop(row.account, 0)
        times_opened = openings.pop(row.account, 0)
        kind, *_, currency = row.account.split("/")
        home = homes.get(row.account, row.partition) if kind == "customer" else HOUSE
        if (row.partition, row.kind, row.currency) != (home, kind, currency):
            is_kept = f"is kept in partition {row.partition} as a {row.kind}'s in {row.currency}"
            proof.add("account", f"account {row.account}", is_kept)
        if kind != "customer":
            continue
        if row.balance != total:
            proof.add(
                "balance",
                f"account {row.account}",
                f"holds {row.balance}, its transfers come to {total}",
            )
        if times_opened != 1:
            proof.add("account", f"account {row.account}", f"was opened {times_opened} times")
    for name in sorted(sums):
        proof.add("account", f"account {name}", "has transfers, but does not exist")


def _check_equation(proof: Proof) -> None:
    found = proof.totals
    settled = found.paid + found.declined + found.dead
    if found.created != settled + found.open:
        proof.add(
            "equation",
            "ledger",
            f"created {found.created} is not paid {found.paid} + declined {found.declined} "
            f"+ dead {found.dead} + open {found.open}",
        )
