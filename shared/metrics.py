"""What is measured where the work is done: counts and histograms of whole numbers.

They lie in an array of integers, so that a worker can keep them in memory that its supervisor
reads. Nothing here knows how they are shown.
"""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, MutableSequence

LATENCY_BOUNDS = (
    *(1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000),
    *(1_000_000, 2_500_000, 5_000_000, 10_000_000, 30_000_000, 60_000_000),
)
"""Microseconds: from a lone order's way to a backlog's."""

SIZE_BOUNDS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000)
"""Orders."""

DELIVERIES = ("fresh", "early", "redelivered", "nudge", "forged", "foreign", "unreadable")
"""What a message may turn out to be."""

CALLS = ("charges", "lookups", "doubts", "unavailable")
"""Calls to an outside gateway by their purpose, and those that left a doubt or found nobody."""

COUNTERS = ("retries", *DELIVERIES, *CALLS)
"""Attempts after which an order had to wait, and messages by what they turned out to be."""


class Histogram:
    """Values by size: a count per bound, one for those above, and their sum.

    Args:
        bounds: Upper bounds, each included, ascending.
        cells: Where it is kept; ``width(bounds)`` integers from ``offset`` on.
        offset: Where in them.
    """

    def __init__(
        self, bounds: tuple[int, ...], cells: MutableSequence[int], offset: int = 0
    ) -> None:
        self.bounds = bounds
        self._cells = cells
        self._offset = offset

    @staticmethod
    def width(bounds: tuple[int, ...]) -> int:
        """How many cells it takes."""
        return len(bounds) + 2

    def observe(self, value: int, times: int = 1) -> None:
        """Count a value that occurred ``times`` times; one below zero, of a clock, as zero."""
        value = max(value, 0)
        self._cells[self._offset + bisect_left(self.bounds, value)] += times
        self._cells[self._offset + len(self.bounds) + 1] += value * times

    @property
    def counts(self) -> list[int]:
        """Values per bound, each counted once, and those above all bounds."""
        return list(self._cells[self._offset : self._offset + len(self.bounds) + 1])

    @property
    def sum(self) -> int:
        """All values added up."""
        return int(self._cells[self._offset + len(self.bounds) + 1])


class Meter:
    """What one payment worker measures.

    Attributes:
        latency: Microseconds from the acceptance of an order to its settlement.
        batches: Orders per settling transaction.
        calls: Microseconds that calls to an outside gateway took.
    """

    SIZE = 2 * Histogram.width(LATENCY_BOUNDS) + Histogram.width(SIZE_BOUNDS) + len(COUNTERS)

    def __init__(self, cells: MutableSequence[int] | None = None, offset: int = 0) -> None:
        self._cells = [0] * self.SIZE if cells is None else cells
        self._offset = offset
        self.latency = Histogram(LATENCY_BOUNDS, self._cells, offset)
        offset += Histogram.width(LATENCY_BOUNDS)
        self.batches = Histogram(SIZE_BOUNDS, self._cells, offset)
        offset += Histogram.width(SIZE_BOUNDS)
        self.calls = Histogram(LATENCY_BOUNDS, self._cells, offset)
        self._counters = offset + Histogram.width(LATENCY_BOUNDS)

    def count(self, counter: str) -> None:
        """Add one to a counter."""
        self._cells[self._counters + COUNTERS.index(counter)] += 1

    @property
    def counters(self) -> dict[str, int]:
        """Every counter."""
        start = self._counters
        return dict(zip(COUNTERS, self._cells[start : start + len(COUNTERS)], strict=True))

    @property
    def settled(self) -> int:
        """Orders that were settled."""
        return self.batches.sum

    def add(self, other: Meter) -> None:
        """Add what another one measured."""
        for index, value in enumerate(other):
            self._cells[self._offset + index] += value

    def __iter__(self) -> Iterator[int]:
        return iter(list(self._cells[self._offset : self._offset + self.SIZE]))
