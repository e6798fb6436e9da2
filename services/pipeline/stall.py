"""When to stop waiting for orders to be settled: nothing has moved for a while."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from shared.ledger.positions import Position

STALL_SECONDS = 60.0
"""A process that waits while nothing moves for so long gives up, and says where it stands."""


class Abandoned(Exception):
    """A process ends although orders are open; says why."""


class StallDetector:
    """Watches over partitions that should move."""

    def __init__(self) -> None:
        self._state: object = None
        self._moved_at = time.monotonic()

    def observe(self, state: object, waiting: Sequence[Position]) -> None:
        """Note how things stand; ``waiting`` are the partitions that are not where they should be.

        Raises:
            Abandoned: They have not moved for too long.
        """
        if state != self._state or not waiting:
            self._state, self._moved_at = state, time.monotonic()
        if time.monotonic() - self._moved_at > STALL_SECONDS:
            stalled = ", ".join(
                f"partition {each.partition} at {each.through} of {each.head}"
                for each in waiting[:4]
            )
            raise Abandoned(f"nothing has moved for {STALL_SECONDS:g} s: {stalled} stand still")
