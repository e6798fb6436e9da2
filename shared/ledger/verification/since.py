"""Verification of what was touched: the orders since a standing, and the accounts that they moved.

Every number that was given or settled since then lies behind the one up to which all were settled,
so a run's own orders and those of earlier runs that it settled are found by their keys. What lies
before is left to the whole proof, but for the transfers of the accounts that were touched: those
are added up.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple

import sqlalchemy as sa

from shared.ledger.accounts import customer_account
from shared.ledger.database.tables import (
    LOW_BITS,
    identities,
    journal,
    outcomes,
    pending,
    transfers,
)
from shared.ledger.journal import digest
from shared.ledger.positions import read_positions
from shared.ledger.totals import OUTCOME_COUNTS
from shared.ledger.verification.accounts import check_touched_accounts
from shared.ledger.verification.orders import (
    ENTRIES,
    OUTCOMES,
    PENDING,
    Numbered,
    Stream,
    check_outcome,
    check_progress,
)
from shared.ledger.verification.orders import read_entries as entries_of
from shared.ledger.verification.proof import PAGE, Counts, Homes, Proof
from shared.ledger.verification.sums import check_pending, check_positions, read_tallies
from shared.schema import encode_order

if TYPE_CHECKING:
    from collections.abc import Iterator

    from shared.ledger.ledger import Ledger
    from shared.ledger.positions import Position


class Standing(NamedTuple):
    """How a ledger stood.

    Attributes:
        positions: Every partition's.
        tallies: The running counters.
        ahead: What was settled beyond an order that was not.
    """

    positions: dict[int, Position]
    tallies: Counts
    ahead: Counts

    def through(self, partition: int) -> int:
        """The number of a partition up to which all were settled."""
        return self.positions[partition].through if partition in self.positions else 0


def standing(connection: sa.Connection) -> Standing:
    """Read how the ledger stands."""
    positions = {position.partition: position for position in read_positions(connection)}
    ahead = [_ahead(connection, each) for each in positions.values() if each.pending]
    return Standing(
        positions, read_tallies(connection), {key: each[key] for each in ahead for key in each}
    )


def _ahead(connection: sa.Connection, position: Position) -> Counts:
    """Count a partition's outcomes beyond the number up to which all are settled."""
    rows = connection.execute(
        OUTCOME_COUNTS.where(
            outcomes.c.partition == position.partition, outcomes.c.number > position.through
        )
    )
    return {
        (position.partition, status, currency): (count, (int(high) << LOW_BITS) + int(low))
        for status, currency, count, high, low in rows
    }


def check_since(
    ledger: Ledger,
    connection: sa.Connection,
    proof: Proof,
    before: Standing,
    positions: list[Position],
) -> None:
    """Check what was accepted or settled since a standing, and the accounts that it moved."""
    check_positions(ledger, proof, positions)
    check_pending(connection, proof, positions)
    counted: Counts = {}
    homes: Homes = {}
    for position in positions:
        since = before.through(position.partition)
        if position.head != since:
            _check_orders(ledger, connection, proof, position, since, counted, homes)
        _check_created(connection, proof, before, position)
    _check_growth(connection, proof, before, counted)
    check_touched_accounts(ledger, connection, proof, homes)


def _check_orders(
    ledger: Ledger,
    connection: sa.Connection,
    proof: Proof,
    position: Position,
    since: int,
    counted: Counts,
    homes: Homes,
) -> None:
    """Check a partition's orders after the number ``since``; note whose accounts they moved."""
    partition = position.partition
    results = Stream(
        connection.execution_options(yield_per=PAGE).execute(
            OUTCOMES.where(outcomes.c.partition == partition, outcomes.c.number > since)
        ),
        proof,
        "outcome",
    )
    waiting = Stream(
        connection.execution_options(yield_per=PAGE).execute(
            PENDING.where(pending.c.partition == partition, pending.c.number > since)
        ),
        proof,
        "pending",
    )
    entries = _entries(connection, proof, position, since)
    while page := list(islice(entries, PAGE)):
        known = _by_id(ledger, connection, identities, page)
        unpaid: list[Numbered] = []
        for entry in page:
            key = partition, entry.number
            outcome = results.take(key)
            check_outcome(proof, entry, outcome, counted)
            check_progress(proof, entry, outcome, waiting.take(key), position.cursor)
            status = outcome.status if outcome is not None else "open"
            _check_identity(proof, entry, known.get(entry.order.order_id), status)
            if status in {"paid", "declined"}:
                account = customer_account(entry.order.customer_id, entry.order.currency)
                homes[account] = partition
            if status in {"open", "declined", "dead"}:
                unpaid.append(entry)
        strays = _by_id(ledger, connection, transfers, unpaid)
        for order_id, stray in strays.items():
            proof.add(
                "transfer",
                f"order {order_id}",
                f"transfer {stray.transfer_id} is of no order that is paid",
            )
    results.finish()
    waiting.finish()


def _entries(
    connection: sa.Connection, proof: Proof, position: Position, since: int
) -> Iterator[Numbered]:
    """Yield a partition's orders after ``since``, from the entry on that holds the next one."""
    own = journal.c.partition == position.partition
    first = connection.scalar(
        sa.select(sa.func.max(journal.c.first)).where(own, journal.c.first <= since + 1)
    )
    ends = {position.partition: since if first is None else first - 1}
    chosen = ENTRIES.where(own, journal.c.first >= (first or 0))
    for entry in entries_of(connection, proof, [position], ends, chosen):
        if entry.number > since:
            yield entry


def _by_id(
    ledger: Ledger, connection: sa.Connection, table: sa.Table, page: list[Numbered]
) -> dict[str, sa.Row[Any]]:
    """Look up a table's rows of some orders."""
    if not page:
        return {}
    database = ledger.database
    query = database.select_any(tuple(table.columns), table.c.order_id)
    ids = database.backend.bind_list([entry.order.order_id for entry in page])
    return {row.order_id: row for row in connection.execute(query, {"values": ids})}


def _check_identity(
    proof: Proof, entry: Numbered, identity: sa.Row[Any] | None, status: str
) -> None:
    if identity is None:
        proof.add("identity", entry.where, "the order has no identity, or another number")
        return
    is_here = (identity.partition, identity.number) == (entry.partition, entry.number)
    is_later = identity.partition == entry.partition and identity.number > entry.number
    if not (is_later if status == "retried" else is_here):
        found = f"partition {identity.partition}, number {identity.number}"
        proof.add("identity", entry.where, f"its identity has another place: {found}")
    elif identity.digest != digest(encode_order(entry.order)):
        proof.add("identity", entry.where, "its identity has the digest of other content")


def _check_created(
    connection: sa.Connection, proof: Proof, before: Standing, position: Position
) -> None:
    """Hold the growth of a head against the new entries; a retried order is no new one."""
    was = before.positions.get(position.partition)
    head, created = (was.head, was.created) if was else (0, 0)
    new = connection.scalar(
        sa.select(sa.func.coalesce(sa.func.sum(journal.c.last - journal.c.first + 1), 0)).where(
            journal.c.partition == position.partition,
            journal.c.first > head,
            journal.c.attempts == 0,
        )
    )
    if position.created - created != new:
        proof.add(
            "identity",
            f"partition {position.partition}",
            f"{new} orders were created since, the head says {position.created - created}",
        )


def _check_growth(
    connection: sa.Connection, proof: Proof, before: Standing, counted: Counts
) -> None:
    """Hold the growth of the tallies against the outcomes since."""
    now = read_tallies(connection)
    found = {
        kind: _less(counted.get(kind, (0, 0)), before.ahead.get(kind, (0, 0)))
        for kind in counted.keys() | before.ahead.keys()
        if kind[1] != "retried"
    }
    for kind in sorted(now.keys() | before.tallies.keys() | found.keys()):
        (orders, amount), (had, held) = now.get(kind, (0, 0)), before.tallies.get(kind, (0, 0))
        grown, is_so = (orders - had, amount - held), found.get(kind, (0, 0))
        partition, status, currency = kind
        # A retry of one that was dead before makes less of them, too.
        is_right = grown[0] <= is_so[0] if status == "dead" else grown == is_so
        if not is_right:
            proof.add(
                "tally",
                f"partition {partition}, {status} in {currency}",
                f"{is_so[0]} orders of {is_so[1]} are new, the tally grew by {grown[0]} "
                f"of {grown[1]}",
            )


def _less(count: tuple[int, int], known: tuple[int, int]) -> tuple[int, int]:
    return count[0] - known[0], count[1] - known[1]
