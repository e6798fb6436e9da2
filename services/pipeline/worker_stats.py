"""Payment workers summed up: how many do what, and what they have measured together."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from shared.ledger.workers import WAITING
from shared.metrics import Meter

if TYPE_CHECKING:
    from collections.abc import Iterable

    from services.pipeline.slots import Worker
    from shared.ledger.workers import Reported, WorkerEntry

STATES = ("starting", "idle", "settling", WAITING)


@dataclass
class WorkerStats:
    """Workers, those that have left included.

    Attributes:
        entries: Those that are there at present.
        states: How many there are at present in each state.
        replaced: How many died or got stuck.
        meter: What all of them have measured.
    """

    entries: list[WorkerEntry] = field(default_factory=list)
    states: dict[str, int] = field(default_factory=lambda: dict.fromkeys(STATES, 0))
    replaced: int = 0
    meter: Meter = field(default_factory=Meter)

    @classmethod
    def of(cls, workers: Iterable[Worker], entries: list[WorkerEntry]) -> WorkerStats:
        """Sum up the workers of this process tree."""
        stats = cls(entries)
        for worker in workers:
            stats.states[worker.state] += 1
            stats.replaced += worker.restarts
            stats.meter.add(worker.meter)
        return stats

    @classmethod
    def reported(cls, reported: Reported) -> WorkerStats:
        """Sum up what the registry knows of all that ever worked for a ledger."""
        stats = cls(reported.present)
        for entry in reported.present:
            stats.states[entry.state] += 1
        stats.replaced = reported.restarts
        for cells in reported.meters:
            if len(cells) == Meter.SIZE:
                stats.meter.add(Meter(cells))
        return stats
