"""How far every partition is: what was numbered, what of it was taken up, and what is settled."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import sqlalchemy as sa

from shared.ledger.database.tables import cursors, heads, pending

if TYPE_CHECKING:
    from collections.abc import Mapping


class Position(NamedTuple):
    """How far a partition is.

    Attributes:
        head: Numbers given.
        cursor: Numbers taken up: each of them has an outcome, or waits for one.
        created: Orders accepted.
        pending: How many of the numbers taken up wait for their outcome.
        lowest: The first of those.
    """

    partition: int
    head: int
    cursor: int
    created: int
    pending: int = 0
    lowest: int | None = None

    @property
    def open(self) -> int:
        """How many numbers wait to be settled."""
        return self.head - self.cursor + self.pending

    @property
    def settled(self) -> int:
        """How many numbers have an outcome."""
        return self.cursor - self.pending

    @property
    def through(self) -> int:
        """The number up to which all are settled."""
        return self.cursor if self.lowest is None else self.lowest - 1


_LOWEST = (
    sa.select(sa.func.min(pending.c.number))
    .where(pending.c.partition == cursors.c.partition)
    .scalar_subquery()
)
_POSITIONS = (
    sa.select(
        heads.c.partition,
        heads.c.number,
        cursors.c.number,
        heads.c.created,
        cursors.c.pending,
        _LOWEST,
    )
    .join(cursors, cursors.c.partition == heads.c.partition)
    .order_by(heads.c.partition)
)


def read_positions(connection: sa.Connection) -> list[Position]:
    """Read every partition's position, ascending."""
    return [Position(*row) for row in connection.execute(_POSITIONS)]


def open_up_to(connection: sa.Connection, ends: Mapping[int, int]) -> int:
    """Count the open orders with numbers up to an end, given by partition."""
    count = 0
    for position in read_positions(connection):
        end = ends.get(position.partition, 0)
        count += max(0, end - position.cursor)
        if position.pending:
            count += (
                connection.scalar(
                    sa.select(sa.func.count()).where(
                        pending.c.partition == position.partition, pending.c.number <= end
                    )
                )
                or 0
            )
    return count
