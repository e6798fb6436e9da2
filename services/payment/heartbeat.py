"""A worker's signs of life, in memory that it shares with its supervisor."""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from shared.metrics import Meter

if TYPE_CHECKING:
    from collections.abc import Iterator

BEAT_SECONDS = 0.1
PULSE_SECONDS = 60.0
"""The longest wait in which a worker that does nothing else counts as alive."""

_AT_WORK = 1
"""The lowest bit of the partition's cell, so that both change at once."""


_CALLS = range(3 + Meter.SIZE, 3 + Meter.SIZE + 3)


class Heartbeat:
    """What a supervisor can see of a worker without asking it.

    Args:
        shared: Integers: beats, the partition, whether it is ready, the meter's, the beats of the
            calls' loop, how many calls are out, and whether the gateway is away.

    Attributes:
        meter: What the worker measures.
    """

    SIZE = 3 + Meter.SIZE + 3

    def __init__(self, shared: Any) -> None:  # noqa: ANN401  ctypes arrays are untyped
        self._shared = shared
        self.meter = Meter(shared, 3)

    def working(self, partition: int) -> None:
        """Show that the worker makes progress on a partition."""
        self._shared[0] += 1
        self._shared[1] = (partition + 1) * 2 + _AT_WORK

    def calling(self, out: int, *, is_away: bool) -> None:
        """Show that the loop of the calls turns, and how they are."""
        beats, calls, away = _CALLS
        self._shared[beats] += 1
        self._shared[calls] = out
        self._shared[away] = is_away

    @property
    def calls_out(self) -> int:
        """Calls to an outside gateway that are out."""
        return int(self._shared[_CALLS[1]])

    @property
    def is_gateway_away(self) -> bool:
        """Whether an outside gateway does not answer."""
        return bool(self._shared[_CALLS[2]])

    def waiting(self) -> None:
        """Show that the worker is there, and waits for work."""
        self._shared[0] += 1
        self._shared[1] &= ~_AT_WORK

    @contextmanager
    def pulse(self) -> Iterator[None]:
        """Show it for as long as the block lasts, up to ``PULSE_SECONDS``.

        For what waits where nobody can look up in between: a server that takes a connection and
        never says a word, a name server that is away.
        """
        is_over = threading.Event()

        def beat() -> None:
            until = time.monotonic() + PULSE_SECONDS
            while not is_over.wait(BEAT_SECONDS) and time.monotonic() < until:
                self._shared[0] += 1

        self._shared[0] += 1
        threading.Thread(target=beat, name="pulse", daemon=True).start()
        try:
            yield
        finally:
            is_over.set()

    def ready(self) -> None:
        """Show that the worker has all that it needs, and begins."""
        self._shared[2] = 1

    @property
    def is_ready(self) -> bool:
        """Whether it has begun."""
        return bool(self._shared[2])

    @property
    def beats(self) -> tuple[int, int]:
        """Signs of life so far, of the worker's own loop and of its calls; 0 if it has none."""
        return int(self._shared[0]), int(self._shared[_CALLS[0]])

    @property
    def partition(self) -> int | None:
        """The partition at work."""
        return self.last_partition if self._shared[1] & _AT_WORK else None

    @property
    def last_partition(self) -> int | None:
        """The partition at work, or the one before it rested."""
        return int(self._shared[1]) // 2 - 1 if self._shared[1] else None
