"""Orders that are taken up and not settled: what is read of them, and what is written.

Everything here is done by whoever holds the partition; see ``shared.ledger.database.hold``.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import sqlalchemy as sa

from shared import clock
from shared.errors import LedgerUnavailable
from shared.ledger.cursors import Cursor, peek
from shared.ledger.database.tables import cursors, pending, resolutions
from shared.ledger.postings import Decided, postings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from shared.ledger.database.hold import Hold
    from shared.ledger.ledger import Ledger


class PendingRow(NamedTuple):
    """A row of ``pending``; times in microseconds since 1970. The table says what each means."""

    partition: int
    number: int
    order_id: str
    customer_id: str
    state: str
    generation: int
    attempts: int
    crashes: int
    key_since: int | None
    doubtful_since: int | None
    due_at: int | None
    reason: str | None
    caller: str


@dataclass
class Taking:
    """What one commit writes for a partition.

    Attributes:
        before: The cursor, as it must still be.
        number: Where it goes.
        decided: Outcomes, and failed attempts.
        rows: New rows, and those that change.
        new: How many of them are new.
        gone: The numbers whose rows go, since they have an outcome.
        resolved: The orders whose resolutions have done their work.
    """

    before: Cursor
    number: int
    decided: Decided
    rows: list[PendingRow] = field(default_factory=list)
    new: int = 0
    gone: list[int] = field(default_factory=list)
    resolved: list[str] = field(default_factory=list)


class CursorMoved(LedgerUnavailable):
    """Somebody moved a cursor whose partition is held by another: a program of another version."""


def read_held(connection: sa.Connection, partition: int) -> tuple[Cursor, list[PendingRow]]:
    """Read a partition that is held: its cursor and head, and the rows in their order."""
    rows = connection.execute(_ROWS, {"of": partition})
    return peek(connection, partition), [PendingRow(*row) for row in rows]


def write_pending(ledger: Ledger, hold: Hold, takings: Sequence[Taking]) -> None:
    """Write what was taken up, called and decided, for many partitions at once.

    Raises:
        CursorMoved: Nothing was written.
        LedgerUnavailable: Nor was it.
        LedgerUncertain: The answer to the commit was lost.
        sqlalchemy.exc.DBAPIError: Nothing was written, for the sake of what should be.
    """
    now = clock.now_us()
    database, backend = ledger.database, ledger.database.backend
    takings = sorted(takings, key=lambda taking: taking.before.partition)
    inserts = postings(ledger, [taking.decided for taking in takings], now)
    rows: list[tuple[Any, ...]] = sorted(row for taking in takings for row in taking.rows)
    gone = [(taking.before.partition, number) for taking in takings for number in taking.gone]
    resolved = [(order_id,) for taking in takings for order_id in taking.resolved]
    upsert = database.upsert(pending, setting=_CHANGING)
    with hold.write() as connection:
        moved = connection.execute(
            _MOVE,
            [
                {
                    "of": taking.before.partition,
                    "was": taking.before.number,
                    "to": taking.number,
                    "more": taking.new - len(taking.gone),
                    "now": now,
                }
                for taking in takings
            ],
        )
        if moved.rowcount != len(takings):
            raise CursorMoved(
                f"ledger {ledger.name}: a cursor has moved that this process holds; is a program "
                "of another version at work?"
            )
        backend.delete_rows(connection, pending, ("partition", "number"), sorted(gone))
        if rows:
            backend.write_rows(connection, upsert, PendingRow._fields, rows)
        for insert, columns, values in inserts:
            backend.write_rows(connection, insert, columns, values)
        backend.delete_rows(connection, resolutions, ("order_id",), resolved)


_ROWS = (
    sa.select(*(pending.c[name] for name in PendingRow._fields))
    .where(pending.c.partition == sa.bindparam("of"))
    .order_by(pending.c.number)
)
_CHANGING = (
    "state",
    "generation",
    "attempts",
    "crashes",
    "key_since",
    "doubtful_since",
    "due_at",
    "reason",
    "caller",
)
_MOVE = (
    cursors.update()
    .where(cursors.c.partition == sa.bindparam("of"), cursors.c.number == sa.bindparam("was"))
    .values(
        number=sa.bindparam("to"),
        pending=cursors.c.pending + sa.bindparam("more"),
        moved_at=sa.bindparam("now"),
        attempts=0,
        retry_at=None,
        failures=0,
        reason=None,
        nudged_at=None,
    )
)
