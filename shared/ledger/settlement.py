"""Settlement's side of the ledger: cursors, and the condition on which they move.

A partition's cursor is the number of its last settled order. Whoever settles reads the cursor,
works out what follows from it without holding anything, and then writes on one condition: the
cursor is still where it was. Every balance of the partition changes only together with its cursor,
so the condition vouches for the balances too, and the lock is held for the writing alone.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import sqlalchemy as sa

from shared import clock
from shared.ledger.postings import postings
from shared.ledger.tables import accounts, cursors, heads, journal
from shared.texts import legible

if TYPE_CHECKING:
    from collections.abc import Iterator

    from shared.ledger.opening import Ledger
    from shared.ledger.postings import Failed
    from shared.schema import Payment

BATCH_FAILURES = 3
"""So often may a batch fail for a reason of its own before its orders are settled one by one."""


FOLLOWING = 100
"""Most small entries that are settled together with the one before them."""


class Cursor(NamedTuple):
    """Where a partition's settlement stands.

    Attributes:
        number: The last number settled; ``head`` is the last there is.
        attempts: Failed attempts at the order after ``number``.
        retry_at: Microseconds before which nobody should try that one again.
        failures: Times a whole batch failed here (a crash, an error of the database).
        singly_until: Up to this number orders are settled one by one.
        reason: What the last failure said.
    """

    partition: int
    number: int
    attempts: int
    retry_at: int | None
    failures: int
    singly_until: int
    reason: str | None
    head: int


class Entry(NamedTuple):
    """A journal entry, without its body."""

    first: int
    last: int
    digest: bytes
    attempts: int
    accepted_at: int


def peek(connection: sa.Connection, partition: int) -> Cursor:
    """Read a partition's cursor and head."""
    row = connection.execute(_PEEK, {"partition": partition}).one()
    return Cursor(partition, *row)


def entry_at(connection: sa.Connection, partition: int, number: int) -> Entry:
    """Find the journal entry that holds a number."""
    row = connection.execute(_ENTRY_AT, {"partition": partition, "number": number}).one()
    return Entry(*row)


def body(connection: sa.Connection, partition: int, first: int) -> bytes:
    """Read the encoded OrderBatch of the entry that starts at ``first``."""
    found: bytes = connection.execute(_BODY, {"partition": partition, "first": first}).scalar_one()
    return found


def following(
    connection: sa.Connection, partition: int, number: int
) -> Iterator[tuple[Entry, bytes]]:
    """Yield the entries after the one that ends at ``number``, with bodies, as far as one reads."""
    rows = connection.execute(_FOLLOWING, {"partition": partition, "number": number})
    for *entry, found in rows:
        yield Entry(*entry), found


def balances(
    ledger: Ledger, connection: sa.Connection, partition: int, names: set[str]
) -> dict[str, int]:
    """Read the balances of those accounts of a partition that exist, in minor units."""
    database = ledger.database
    known = database.select_any(
        (accounts.c.account, accounts.c.balance), accounts.c.account, of=accounts.c.partition
    )
    values = database.backend.bind_list(sorted(names))
    rows = connection.execute(known, {"values": values, "of": partition})
    return dict(rows.all())


@dataclass
class Settlement:
    """What one settling transaction will write for a partition, gathered outside of it.

    Attributes:
        before: The cursor on which everything here depends.
        payments: Outcomes of the numbers after it, without gaps.
        debits: For each payment, the account that it was taken from, if it was paid.
        balances: New balances of the customers' accounts, in minor units.
        opened: Those of them that are new, with their currency.
        attempts: Failed attempts at the order that comes next.
        retry_at: When that one is due again.
        reason: Why it failed.
        failed: The attempt that failed, for that order's story.
    """

    before: Cursor
    payments: list[Payment] = field(default_factory=list)
    debits: list[str | None] = field(default_factory=list)
    balances: dict[str, int] = field(default_factory=dict)
    opened: dict[str, str] = field(default_factory=dict)
    attempts: int = 0
    retry_at: int | None = None
    reason: str | None = None
    failed: Failed | None = None

    @property
    def number(self) -> int:
        """Where the cursor will be."""
        return self.before.number + len(self.payments)


def write(ledger: Ledger, settlement: Settlement) -> bool:
    """Write a settlement, if its cursor has not been moved meanwhile; say whether it was written.

    Raises:
        LedgerUnavailable: Nothing was written.
        sqlalchemy.exc.DBAPIError: Nor was it, for the sake of what should be.
    """
    now = clock.now_us()
    inserts = postings(ledger, settlement, now)
    with ledger.database.write(judges=True) as connection:
        if not _move(connection, settlement, now):
            return False
        for insert, columns, rows in inserts:
            ledger.database.backend.write_rows(connection, insert, columns, rows)
    return True


def record_failure(ledger: Ledger, partition: int, reason: str, *, batch_size: int) -> None:
    """Count a failure of a whole batch: an error of the database, a worker that crashed.

    After ``BATCH_FAILURES`` of them the next ``batch_size`` orders are settled one by one, so that
    the culprit can be found.
    """
    now, reason = clock.now_us(), legible(reason)
    with ledger.database.write() as connection:
        before = peek(connection, partition)
        failures = before.failures + 1
        singly_until = before.singly_until
        if failures == BATCH_FAILURES:
            singly_until = min(before.head, before.number + batch_size)
        connection.execute(
            cursors.update()
            .where(cursors.c.partition == partition)
            .values(failures=failures, singly_until=singly_until, reason=reason, moved_at=now)
        )


_PEEK = (
    sa.select(
        cursors.c.number,
        cursors.c.attempts,
        cursors.c.retry_at,
        cursors.c.failures,
        cursors.c.singly_until,
        cursors.c.reason,
        heads.c.number,
    )
    .join(heads, heads.c.partition == cursors.c.partition)
    .where(cursors.c.partition == sa.bindparam("partition"))
)
_ENTRY = (
    journal.c.first,
    journal.c.last,
    journal.c.digest,
    journal.c.attempts,
    journal.c.accepted_at,
)
_ENTRY_AT = (
    sa.select(*_ENTRY)
    .where(
        journal.c.partition == sa.bindparam("partition"),
        journal.c.first <= sa.bindparam("number"),
    )
    .order_by(journal.c.first.desc())
    .limit(1)
)
_BODY = sa.select(journal.c.body).where(
    journal.c.partition == sa.bindparam("partition"), journal.c.first == sa.bindparam("first")
)
_FOLLOWING = (
    sa.select(*_ENTRY, journal.c.body)
    .where(
        journal.c.partition == sa.bindparam("partition"),
        journal.c.first > sa.bindparam("number"),
    )
    .order_by(journal.c.first)
    .limit(FOLLOWING)
)
_MOVE = cursors.update().where(
    cursors.c.partition == sa.bindparam("of"),
    cursors.c.number == sa.bindparam("was"),
    cursors.c.attempts == sa.bindparam("had"),
)


def _move(connection: sa.Connection, settlement: Settlement, now: int) -> bool:
    before = settlement.before
    singly = settlement.number < before.singly_until
    moved = connection.execute(
        _MOVE,
        {
            "of": before.partition,
            "was": before.number,
            "had": before.attempts,
            "number": settlement.number,
            "moved_at": now,
            "attempts": settlement.attempts,
            "retry_at": settlement.retry_at,
            "failures": BATCH_FAILURES if singly else 0,
            "reason": settlement.reason,
            "nudged_at": None,
        },
    )
    return moved.rowcount == 1
