"""A worker's signs of life, in memory that it shares with its supervisor."""

from __future__ import annotations

from typing import Any

from shared.metrics import Meter

_AT_WORK = 1
"""The lowest bit of the partition's cell, so that both change at once."""


class Vitals:
    """What a supervisor can see of a worker without asking it.

    Args:
        shared: Integers: beats, the partition, and the meter's.

    Attributes:
        meter: What the worker measures.
    """

    SIZE = 2 + Meter.SIZE

    def __init__(self, shared: Any) -> None:  # noqa: ANN401  ctypes arrays are untyped
        self._shared = shared
        self.meter = Meter(shared, 2)

    def working(self, partition: int) -> None:
        """Show that the worker makes progress on a partition."""
        self._shared[0] += 1
        self._shared[1] = (partition + 1) * 2 + _AT_WORK

    def waiting(self) -> None:
        """Show that the worker is there, and waits for work."""
        self._shared[0] += 1
        self._shared[1] &= ~_AT_WORK

    @property
    def beats(self) -> int:
        """Signs of life so far."""
        return int(self._shared[0])

    @property
    def partition(self) -> int | None:
        """The partition at work."""
        return self.last_partition if self._shared[1] & _AT_WORK else None

    @property
    def last_partition(self) -> int | None:
        """The partition at work, or the one before it rested."""
        return int(self._shared[1]) // 2 - 1 if self._shared[1] else None
