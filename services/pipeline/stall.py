"""When to stop waiting for orders to be settled: nothing has moved for a while."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from shared.ledger.positions import Position

STALL_SECONDS = 60.0
"""A process that waits while nothing moves for so long gives up, and says where it stands."""


OUTAGE_SECONDS = 600.0
"""So long it waits where the gateway is away, or an order in doubt."""


class Abandoned(Exception):
    """A process ends although orders are open; says why."""


class StallDetector:
    """Watches over partitions that should move."""

    def __init__(self) -> None:
        self._state: object = None
        self._moved_at = time.monotonic()

    def is_quiet(self, seconds: float) -> bool:
        """Whether nothing has moved for so long."""
        return time.monotonic() - self._moved_at > seconds

    def observe(
        self, state: object, waiting: Sequence[Position], patience: float = STALL_SECONDS
    ) -> None:
        """Note how things stand; ``waiting`` are the partitions that are not where they should be.

        Args:
            state: Changes whenever something moves.
            waiting: The partitions.
            patience: Seconds for which nothing may move.

        Raises:
            Abandoned: They have not moved for too long.
        """
        if state != self._state or not waiting:
            self._state, self._moved_at = state, time.monotonic()
        if self.is_quiet(patience):
            stalled = ", ".join(
                f"partition {each.partition} at {each.through} of {each.head}"
                for each in waiting[:4]
            )
            raise Abandoned(f"nothing has moved for {patience:g} s: {stalled} stand still")
