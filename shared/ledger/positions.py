"""How far every partition is: what intake has numbered, and what consumers have settled of it."""

from __future__ import annotations

from typing import NamedTuple

import sqlalchemy as sa

from shared.ledger.database.tables import cursors, heads


class Position(NamedTuple):
    """How far a partition is: ``head`` numbers given, ``cursor`` of them settled."""

    partition: int
    head: int
    cursor: int
    created: int

    @property
    def open(self) -> int:
        """How many numbers wait to be settled."""
        return self.head - self.cursor


def read_positions(connection: sa.Connection) -> list[Position]:
    """Read every partition's position, ascending."""
    rows = connection.execute(
        sa.select(heads.c.partition, heads.c.number, cursors.c.number, heads.c.created)
        .join(cursors, cursors.c.partition == heads.c.partition)
        .order_by(heads.c.partition)
    )
    return [Position(*row) for row in rows]
