"""Which partitions a worker should hold: those it is told of, or its share of those with work."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from shared.ledger.positions import read_positions
from shared.ledger.workers import present

if TYPE_CHECKING:
    from collections.abc import Mapping

    import sqlalchemy as sa

    from services.payment.charging.book import HeldPartition
    from shared.ledger.positions import Position

AGAIN_SECONDS = 0.25
"""Who finds a partition held comes back to it after so long, for as long as it is open."""

SHARED_SECONDS = 0.05
"""How often a holder looks for orders of which others may have been told."""

COUNT_SECONDS = 1.0

GRACE_SECONDS = 2.0
"""After an outage of the database nobody takes what another had, for so long: it comes back."""


class Survey:
    """Looks at all partitions now and then.

    Args:
        shares: Whether any worker may hold any partition, and none more than its share; else each
            holds those that it is told of.
    """

    def __init__(self, *, shares: bool) -> None:
        self._shares = shares
        self._told: set[int] = set()
        self._positions: dict[int, Position] = {}
        self._workers = 1
        self._looked_at = self._counted_at = self._tried_at = self._grace_until = 0.0

    def is_due(self, *, is_holding: bool) -> bool:
        """Whether to look again."""
        often = self._shares and is_holding
        return time.monotonic() - self._looked_at > (SHARED_SECONDS if often else AGAIN_SECONDS)

    def look(self, connection: sa.Connection) -> None:
        """Read how far all partitions are, and how many workers there are."""
        self._positions = {each.partition: each for each in read_positions(connection)}
        now = self._looked_at = time.monotonic()
        if self._shares and now - self._counted_at > COUNT_SECONDS:
            self._counted_at = now
            self._workers = max(1, len(present(connection)))

    def give_grace(self) -> None:
        """Leave all others what they had, for a while."""
        self._grace_until = time.monotonic() + GRACE_SECONDS

    def head(self, partition: int) -> int:
        """The last number of a partition that was seen."""
        position = self._positions.get(partition)
        return 0 if position is None else position.head

    def to_take(self, hinted: set[int], held: Mapping[int, HeldPartition]) -> set[int]:
        """Choose the partitions to take."""
        self._told |= hinted
        wanted = {each for each in hinted if each not in held}
        now = time.monotonic()
        if now < self._grace_until:
            return set()
        if now - self._tried_at > AGAIN_SECONDS:
            self._tried_at = now
            wanted |= {
                number
                for number, position in self._positions.items()
                if position.open and number not in held and (self._shares or number in self._told)
            }
        if not self._shares:
            return wanted
        room = max(0, self._share(held, wanted) - len(held))
        return set(sorted(wanted, key=lambda number: -self._open(number))[:room])

    def to_leave(self, held: Mapping[int, HeldPartition]) -> HeldPartition | None:
        """Choose a partition to let go, where one more is held than is due."""
        if not self._shares or len(held) <= self._share(held, set()):
            return None
        if any(each.is_leaving for each in held.values()):
            return None
        return min(held.values(), key=lambda each: each.out)

    def _share(self, held: Mapping[int, HeldPartition], wanted: set[int]) -> int:
        """How many a worker may hold: of those with work, so many that each gets as many."""
        there = {number for number in self._positions if self._open(number)} | held.keys() | wanted
        return -(-len(there) // self._workers)

    def _open(self, number: int) -> int:
        position = self._positions.get(number)
        return 0 if position is None else position.open
