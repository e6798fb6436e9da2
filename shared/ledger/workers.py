"""The registry of payment workers: who is there, doing what. Supervisors keep it."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import sqlalchemy as sa

from shared import clock
from shared.ledger.tables import workers

if TYPE_CHECKING:
    from shared.ledger.opening import Ledger

GONE_AFTER = 10 * clock.SECOND
"""Microseconds after which a worker that nobody has reported is not counted any more."""


class WorkerEntry(NamedTuple):
    """A worker as its supervisor last reported it; times in microseconds since 1970."""

    worker: str
    run_id: str
    slot: int
    host: str
    pid: int
    state: str
    queue_depth: int
    restarts: int
    settled: int
    started_at: int
    seen_at: int


def report(ledger: Ledger, run_id: str, entries: list[WorkerEntry]) -> None:
    """Replace what is known of a run's workers; an empty list takes them out."""
    with ledger.database.write() as connection:
        long_gone = clock.now_us() - 60 * GONE_AFTER
        connection.execute(
            workers.delete().where(
                sa.or_(workers.c.run_id == run_id, workers.c.seen_at < long_gone)
            )
        )
        if entries:
            connection.execute(workers.insert(), [entry._asdict() for entry in entries])


def present(connection: sa.Connection) -> list[WorkerEntry]:
    """List the workers that were reported lately."""
    rows = connection.execute(
        sa.select(workers)
        .where(workers.c.seen_at > clock.now_us() - GONE_AFTER)
        .order_by(workers.c.run_id, workers.c.slot)
    )
    return [WorkerEntry(**row) for row in rows.mappings()]
