"""Which partitions stand still, and who may nudge them."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import sqlalchemy as sa

from shared import clock
from shared.ledger.tables import cursors, heads, journal

if TYPE_CHECKING:
    from shared.ledger.opening import Ledger


class Standstill(NamedTuple):
    """A partition with open orders whose cursor, at ``number``, has not moved for a while."""

    partition: int
    number: int


def overdue(connection: sa.Connection, before: int) -> list[Standstill]:
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
            heads.c.number > cursors.c.number,
            cursors.c.moved_at < before,
            sa.func.coalesce(cursors.c.retry_at, 0) < before,
            sa.func.coalesce(cursors.c.nudged_at, 0) < before,
            accepted < before,
        )
        .order_by(cursors.c.partition)
    )
    return [Standstill(*row) for row in rows]


def claim_nudge(ledger: Ledger, place: Standstill, before: int) -> bool:
    """Take it upon oneself to nudge a partition; False if another process has, or it moved."""
    with ledger.database.write() as connection:
        claimed = connection.execute(
            cursors.update()
            .where(
                cursors.c.partition == place.partition,
                cursors.c.number == place.number,
                sa.func.coalesce(cursors.c.nudged_at, 0) < before,
            )
            .values(nudged_at=clock.now_us())
        )
    return claimed.rowcount == 1
