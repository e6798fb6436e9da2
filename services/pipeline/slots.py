"""The slots of payment workers: who fills each, what it has measured, and what was lost."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from shared.ledger.workers import WAITING
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
    beats: tuple[int, int] = (0, 0)
    beats_at: list[float] = field(default_factory=lambda: [time.monotonic()] * 2)
    vacancy: Vacancy | None = None
    backoff: Backoff = field(default_factory=lambda: Backoff(least=0.1))

    @property
    def meter(self) -> Meter:
        """What this slot's processes have measured, the present one and those before it."""
        total = Meter()
        total.add(self.before)
        total.add(self.heartbeat.meter)
        return total

    def silence(self, now: float) -> float:
        """Seconds without a sign of life: of the loop that was silent for longer."""
        before, self.beats = self.beats, self.heartbeat.beats
        for loop, beats in enumerate(self.beats):
            # There need be no loop of calls.
            if beats != before[loop] or (loop and not beats):
                self.beats_at[loop] = now
        return now - min(self.beats_at)

    def begin_anew(self, now: float) -> None:
        """Count its silence from now on."""
        self.beats_at = [now, now]

    @property
    def state(self) -> str:
        """What it is doing, in a word."""
        if not self.heartbeat.is_ready:
            return "starting"
        if self.heartbeat.is_gateway_away:
            return WAITING
        is_idle = self.heartbeat.partition is None and not self.heartbeat.calls_out
        return "idle" if is_idle else "settling"
