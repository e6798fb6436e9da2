"""Writing a settlement, on the condition that its cursor is still where it was.

A partition's cursor is the number of its last settled order. Whoever settles reads the cursor,
works out what follows from it without holding anything, and then writes on one condition: the
cursor is still where it was. Every balance of the partition changes only together with its cursor,
so the condition vouches for the balances too, and the lock is held for the writing alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import sqlalchemy as sa

from shared import clock
from shared.ledger.cursors import peek
from shared.ledger.database.tables import cursors, resolutions
from shared.ledger.postings import postings
from shared.texts import legible

if TYPE_CHECKING:
    from shared.ledger.ledger import Ledger
    from shared.ledger.postings import Settlement

BATCH_FAILURES = 3
"""So often may a batch fail for a reason of its own before its orders are settled one by one."""


def write(ledger: Ledger, settlement: Settlement) -> bool:
    """Write a settlement, if its cursor has not been moved meanwhile; say whether it was written.

    Raises:
        LedgerUnavailable: Nothing was written.
        sqlalchemy.exc.DBAPIError: Nor was it, for the sake of what should be.
    """
    now = clock.now_us()
    inserts = postings(ledger, [settlement.decided], now)
    with ledger.database.write(judges=True) as connection:
        if not _move(connection, settlement, now):
            return False
        for insert, columns, rows in inserts:
            ledger.database.backend.write_rows(connection, insert, columns, rows)
        if settlement.resolved:
            gone = [(order_id,) for order_id in settlement.resolved]
            ledger.database.backend.delete_rows(connection, resolutions, ("order_id",), gone)
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
