"""Cursors: how far each partition is taken up, which stand still, and who may nudge them."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import sqlalchemy as sa

from shared import clock
from shared.ledger.database.tables import cursors, heads, journal

if TYPE_CHECKING:
    from shared.ledger.ledger import Ledger


RETRY_SECONDS = 2.0
"""The longest that an order waits before it is tried again."""

_RETRY_US = int(RETRY_SECONDS * clock.SECOND)


def until_retry(retry_at: int | None) -> int:
    """Microseconds until an order is due.

    A time further ahead than it can be was written before the clock was set back.
    """
    wait = (retry_at or 0) - clock.now_us()
    return wait if wait <= _RETRY_US else 0


class Cursor(NamedTuple):
    """Where a partition's settlement stands.

    Attributes:
        number: The last number taken up; ``head`` is the last there is.
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


def peek(connection: sa.Connection, partition: int) -> Cursor:
    """Read a partition's cursor and head."""
    row = connection.execute(_PEEK, {"partition": partition}).one()
    return Cursor(partition, *row)


class OverduePartition(NamedTuple):
    """A partition with open orders whose cursor, at ``number``, has not moved for a while."""

    partition: int
    number: int


def _is_past(column: sa.ColumnElement[int], before: int) -> sa.ColumnElement[bool]:
    """Whether a time lies before another one, or so far ahead that the clock was set back since."""
    is_recent = sa.func.coalesce(column, 0).between(before, clock.now_us() + _RETRY_US)
    return sa.not_(is_recent)


def overdue(connection: sa.Connection, before: int) -> list[OverduePartition]:
    """Find the partitions where nothing has happened since ``before`` (microseconds, UTC)."""
    accepted = (
        sa.select(journal.c.accepted_at)
        .where(journal.c.partition == cursors.c.partition, journal.c.first <= cursors.c.number + 1)
        .order_by(journal.c.first.desc())
        .limit(1)
        .scalar_subquery()
    )
    rows = connection.execute(
        sa.select(cursors.c.partition, cursors.c.number)
        .join(heads, heads.c.partition == cursors.c.partition)
        .where(
            (heads.c.number > cursors.c.number) | (cursors.c.pending > 0),
            _is_past(cursors.c.moved_at, before),
            _is_past(cursors.c.retry_at, before),
            _is_past(cursors.c.nudged_at, before),
            _is_past(accepted, before),
        )
        .order_by(cursors.c.partition)
    )
    return [OverduePartition(*row) for row in rows]


def claim_nudge(ledger: Ledger, late: OverduePartition, before: int) -> bool:
    """Take it upon oneself to nudge a partition; False if another process has, or it moved."""
    with ledger.database.write() as connection:
        claimed = connection.execute(
            cursors.update()
            .where(
                cursors.c.partition == late.partition,
                cursors.c.number == late.number,
                _is_past(cursors.c.nudged_at, before),
            )
            .values(nudged_at=clock.now_us())
        )
    return claimed.rowcount == 1


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
