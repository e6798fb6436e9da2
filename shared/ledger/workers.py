"""The registry of payment workers: who is there, doing what. Supervisors keep it.

What workers have measured is kept beyond their leaving, so that sums over all of them only grow.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NamedTuple

import sqlalchemy as sa

from shared import clock
from shared.ledger.database.tables import departed, workers
from shared.texts import legible

if TYPE_CHECKING:
    from collections.abc import Iterable

    from shared.ledger.ledger import Ledger

GONE_AFTER = 10 * clock.SECOND
"""Microseconds after which a worker that nobody has reported is not counted any more."""


WAITING = "waiting"
"""The state of a worker whose gateway is away."""


class WorkerEntry(NamedTuple):
    """A worker as its supervisor last reported it; times in microseconds since 1970.

    Attributes:
        partition: What it works on, or worked on last; None if it has not yet.
        calls_out: Calls to an outside gateway that are out.
    """

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
    partition: int | None = None
    calls_out: int = 0


class Reported(NamedTuple):
    """What the registry knows of all who ever worked for a ledger.

    Attributes:
        present: Who was reported lately.
        restarts: How many workers were replaced.
        meters: What was measured, each as a list of integers.
    """

    present: list[WorkerEntry]
    restarts: int
    meters: list[list[int]]


def report(
    ledger: Ledger, run_id: str, entries: list[WorkerEntry], meters: Iterable[Iterable[int]] = ()
) -> None:
    """Replace what is known of a run's workers; an empty list takes them out.

    Args:
        ledger: Whose workers they are.
        run_id: Who reports.
        entries: Its workers.
        meters: What each of them has measured, those before it in its slot included.
    """
    with ledger.database.write() as connection:
        long_gone = clock.now_us() - 60 * GONE_AFTER
        mine, gone = workers.c.run_id == run_id, workers.c.seen_at < long_gone
        _keep_sums(connection, sa.or_(mine, gone) if not entries else sa.and_(gone, ~mine))
        connection.execute(workers.delete().where(sa.or_(mine, gone)))
        if entries:
            rows: list[dict[str, Any]] = [
                entry._asdict() | {"meter": json.dumps(list(meter))}
                for entry, meter in zip(entries, meters, strict=True)
            ]
            connection.execute(workers.insert(), rows)


def try_writing(ledger: Ledger) -> None:
    """Write what changes nothing.

    Raises:
        LedgerUnavailable: The ledger cannot be written.
    """
    with ledger.database.write() as connection:
        connection.execute(departed.update().values(restarts=departed.c.restarts))


def present(connection: sa.Connection) -> list[WorkerEntry]:
    """List the workers that were reported lately."""
    columns = [workers.c[name] for name in WorkerEntry._fields]
    now = clock.now_us()
    rows = connection.execute(
        sa.select(*columns)
        # Not far ahead either: whom the clock, set back since, has left there may be gone.
        .where(workers.c.seen_at.between(now - GONE_AFTER, now + GONE_AFTER))
        .order_by(workers.c.run_id, workers.c.slot)
    )
    return [_legible(WorkerEntry(*row)) for row in rows]


def reported(connection: sa.Connection) -> Reported:
    """Read all there is, those who have left included."""
    sums = connection.execute(
        sa.union_all(
            sa.select(workers.c.restarts, workers.c.meter),
            sa.select(departed.c.restarts, departed.c.meter),
        )
    ).all()
    meters = [json.loads(meter) for _, meter in sums]
    return Reported(present(connection), sum(restarts for restarts, _ in sums), meters)


def is_gateway_away(entries: Iterable[WorkerEntry]) -> bool:
    """Whether a worker finds that its gateway does not answer."""
    return any(entry.state == WAITING for entry in entries)


def _legible(entry: WorkerEntry) -> WorkerEntry:
    """Whoever may write to the ledger may call themselves anything."""
    return entry._replace(
        worker=legible(entry.worker), host=legible(entry.host), state=legible(entry.state)
    )


def _keep_sums(connection: sa.Connection, leaving: sa.ColumnElement[bool]) -> None:
    """Add up what leaving workers have measured with that of those before them."""
    rows = connection.execute(
        sa.select(workers.c.restarts, workers.c.meter).where(leaving).with_for_update()
    ).all()
    if not rows:
        return
    before = connection.execute(
        sa.select(departed.c.restarts, departed.c.meter).with_for_update()
    ).all()
    rows = [*before, *rows]
    meters = [json.loads(meter) for _, meter in rows]
    longest = max(map(len, meters))  # the first sum is empty
    cells = [
        sum(column)
        for column in zip(*(each for each in meters if len(each) == longest), strict=True)
    ]
    connection.execute(
        departed.update().values(
            restarts=sum(restarts for restarts, _ in rows), meter=json.dumps(cells)
        )
    )
