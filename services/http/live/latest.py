"""The latest orders and dead letters: read at most once a second, and only if they changed."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from services.http.live.json_members import members_of
from shared.ledger.dead_letters import undecided
from shared.ledger.listing import list_orders

if TYPE_CHECKING:
    import sqlalchemy as sa

    from shared.ledger.ledger import Ledger
    from shared.ledger.listing import Listed
    from shared.ledger.positions import Position
    from shared.ledger.totals import Totals

MOST = 50
"""Orders, and dead letters, that are shown."""

UNDECIDED_SECONDS = 2.0
"""A decision about dead letters moves no counter."""


class Latest:
    """Both lists.

    Attributes:
        members: The members of the snapshot that they are, as JSON.
    """

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._read_at = 0.0
        self._undecided_at = 0.0
        self._positions: list[Position] = []
        self._orders: list[Listed] = []
        self._letters: list[dict[str, Any]] = []
        self.members = members_of({"orders": [], "letters": []})

    def refresh(self, connection: sa.Connection, positions: list[Position], found: Totals) -> None:
        """Read them again, if it is time to."""
        now = time.monotonic()
        if now - self._read_at < 1:
            return
        is_moved = positions != self._positions
        if is_moved:
            self._orders = list_orders(self._ledger, connection, limit=MOST).orders
        if is_moved or (found.dead and now - self._undecided_at > UNDECIDED_SECONDS):
            letters = undecided(connection, MOST) if found.dead else []
            self._letters = [letter.as_dict() for letter in letters]
            self._undecided_at = now
        self._read_at, self._positions = now, positions
        self.members = members_of({"orders": self._orders, "letters": self._letters})
