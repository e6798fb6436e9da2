"""How fast the other side of a connection must move, and how many such there may be."""

from __future__ import annotations

from services.processes.listening import raise_limit

STILL_SECONDS = 20.0
"""How long a body may stand still, and an answer that is not read."""

PACE_SECONDS, PACE_BYTES = 60.0, 1024
"""And how many bytes must move meanwhile."""

MOST_CONNECTIONS = 1000
_RESERVE = 160
"""Descriptors for files, databases and whatever else is no connection."""

_PER_WORKER = 8


class Room:
    """How many connections there may be, by the system's limits, which are raised if they can be.

    Args:
        workers: Processes that are started beside them, and that need descriptors, too.

    Attributes:
        most: Connections.
        backlog: Connections that wait in the kernel; all of them may be taken in at once.
    """

    def __init__(self, workers: int) -> None:
        limit = raise_limit()
        self.backlog = max(16, min(2048, limit // 4))
        free = limit - self.backlog - _RESERVE - workers * _PER_WORKER
        self.most = max(16, min(MOST_CONNECTIONS, free))


class Pace:
    """Whether bytes move: some in a short while, and enough of them in a long one.

    Args:
        now: Monotonic seconds, as everywhere here.

    Attributes:
        moved_at: When the last ones did.
    """

    def __init__(self, now: float) -> None:
        self._left = 0
        self.restart(now)

    def restart(self, now: float) -> None:
        """Begin anew."""
        self.moved_at = self._begun_at = now
        self._moved = 0

    def move(self, now: float, count: int) -> None:
        """Take note of bytes."""
        self.moved_at = now
        self._moved += count

    def is_too_slow(self, now: float, *, left: int | None = None) -> bool:
        """Judge; with ``left``, the bytes that are still to move, only while there are some."""
        if left is not None:
            if not self._left:
                self.restart(now)
            elif left < self._left:
                self.move(now, self._left - left)
            self._left = left
        if now - self.moved_at > STILL_SECONDS:
            return True
        if now - self._begun_at < PACE_SECONDS:
            return False
        is_slow = self._moved < PACE_BYTES
        self._begun_at, self._moved = now, 0
        return is_slow
