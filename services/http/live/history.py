"""The last five minutes, a point a second: worked out from counters as they are read."""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

SECONDS = 300
MOST_MARKS = 40
LEAST = 0.5
"""Seconds that a point is about; a rate over less than that would be a matter of luck."""


class Counters(NamedTuple):
    """What only grows: orders, and settlements by how long they took (a count per bound)."""

    accepted: int
    settled: int
    latencies: Sequence[int]


class Point(NamedTuple):
    """One second: orders per second, and milliseconds from acceptance to settlement."""

    accepted: float
    settled: float
    median: float | None
    slowest: float | None


class History:
    """Points of the seconds past, and marks for what happened in them.

    A second in which nobody could read has no point.

    Args:
        bounds: Upper bounds of the latencies that are counted, in microseconds.
    """

    def __init__(self, bounds: Sequence[int]) -> None:
        self._bounds = bounds
        self._points: deque[Point | None] = deque(maxlen=SECONDS)
        self._marks: deque[dict[str, Any]] = deque(maxlen=MOST_MARKS)
        self._until = 0
        self._at = 0.0
        self._before: Counters | None = None

    def observe(self, now: float, counters: Counters) -> bool:
        """Take in counters as of ``now`` (seconds since 1970); say whether that made a point."""
        second, before = int(now), self._before
        if before is not None and (second == self._until or 0 <= now - self._at < LEAST):
            return False
        if before is not None and self._until < second <= self._until + SECONDS:
            self._points.extend([None] * (second - self._until - 1))
            self._points.append(self._between(before, counters, now - self._at))
        elif before is not None:
            self._points.clear()  # the clock was set
        self._until, self._at, self._before = second, now, counters
        return True

    def mark(self, now: float, label: str) -> None:
        """Remember that something happened."""
        self._marks.append({"at": round(now, 1), "label": label})

    def as_dict(self) -> dict[str, Any]:
        """All of it in columns; the last point is of the second ``until``."""
        columns = zip(*(point or (None,) * 4 for point in self._points), strict=True)
        empty: tuple[Any, ...] = ((), (), (), ())
        accepted, settled, median, slowest = tuple(columns) or empty
        return {
            "points": {
                "until": self._until,
                "accepted": accepted,
                "settled": settled,
                "median": median,
                "p99": slowest,
            },
            "marks": [each for each in self._marks if each["at"] > self._until - SECONDS],
        }

    def _between(self, before: Counters, after: Counters, seconds: float) -> Point:
        new = [
            max(0, late - early)
            for late, early in zip(after.latencies, before.latencies, strict=True)
        ]
        return Point(
            round(max(0, after.accepted - before.accepted) / seconds),
            round(max(0, after.settled - before.settled) / seconds),
            quantile(self._bounds, new, 0.5),
            quantile(self._bounds, new, 0.99),
        )


def quantile(bounds: Sequence[int], counts: Sequence[int], share: float) -> float | None:
    """Estimate a quantile from a histogram of microseconds, in milliseconds; None if it is empty.

    Within a bucket values are taken to be spread evenly; above the last bound there is no more to
    say than that.
    """
    total = sum(counts)
    if not total:
        return None
    ends = []
    seen = 0
    for count in counts:
        seen += count
        ends.append(seen)
    wanted = share * total
    bucket = bisect_left(ends, wanted)
    if bucket >= len(bounds):
        return bounds[-1] / 1000
    low = bounds[bucket - 1] if bucket else 0
    inside = (wanted - (ends[bucket] - counts[bucket])) / max(1, counts[bucket])
    return round((low + (bounds[bucket] - low) * inside) / 1000, 2)
