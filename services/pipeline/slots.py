"""The slots of payment workers: who fills each, what it has measured, and what was lost."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from shared.metrics import Meter
from shared.resilience import Backoff

if TYPE_CHECKING:
    from multiprocessing.context import SpawnProcess

    from services.payment.heartbeat import Heartbeat


class Loss(NamedTuple):
    """A worker that ended unasked.

    Attributes:
        slot: Which has been filled again.
        culprit: The partition it was settling, if it ended by a fault of its own.
        why: What happened, in words.
    """

    slot: int
    culprit: int | None
    why: str


@dataclass
class Vacancy:
    """A slot whose process is dead while there is no other yet.

    Attributes:
        loss: How that came.
        again_at: When to try again to fill it (monotonic seconds).
        is_told: Whether the log says so.
        since: When it became vacant.
    """

    loss: Loss
    again_at: float
    is_told: bool = False
    since: float = field(default_factory=time.monotonic)


@dataclass
class Worker:
    """One worker slot and the process that fills it at present."""

    slot: int
    process: SpawnProcess
    heartbeat: Heartbeat
    started: float = field(default_factory=time.monotonic)
    restarts: int = 0
    false_starts: int = 0
    before: Meter = field(default_factory=Meter)
    beats: int = 0
    beat_at: float = field(default_factory=time.monotonic)
    vacancy: Vacancy | None = None
    backoff: Backoff = field(default_factory=lambda: Backoff(least=0.1))

    @property
    def meter(self) -> Meter:
        """What this slot's processes have measured, the present one and those before it."""
        total = Meter()
        total.add(self.before)
        total.add(self.heartbeat.meter)
        return total

    @property
    def state(self) -> str:
        """What it is doing, in a word."""
        if not self.heartbeat.is_ready:
            return "starting"
        return "idle" if self.heartbeat.partition is None else "settling"
