"""Totals: the orders by what became of them, of the whole ledger and of one run."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from shared.ledger.database.tables import LOW_BITS, LOW_MASK, journal, outcomes, tallies
from shared.ledger.positions import read_positions

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from shared.ledger.positions import Position


@dataclass
class Totals:
    """Orders by what became of them: ``created == paid + declined + dead + open``.

    Attributes:
        paid_amount: Money taken, by currency, in minor units.
    """

    created: int = 0
    paid: int = 0
    declined: int = 0
    dead: int = 0
    open: int = 0
    paid_amount: dict[str, int] = field(default_factory=dict)

    @property
    def settled(self) -> int:
        """Orders that have an outcome."""
        return self.paid + self.declined + self.dead

    @property
    def is_balanced(self) -> bool:
        """Whether no order is missing, and none is counted twice."""
        return self.created == self.settled + self.open

    @property
    def equation(self) -> str:
        """The sum that must always come out, written out, and whether it does."""
        return (
            f"created {self.created:,} = paid {self.paid:,} + declined {self.declined:,} "
            f"+ dead {self.dead:,} + open {self.open:,} {'✓' if self.is_balanced else '✗'}"
        )

    def as_dict(self) -> dict[str, Any]:
        """The totals under the names that the commands print."""
        return asdict(self)


def totals(connection: sa.Connection, positions: Sequence[Position] | None = None) -> Totals:
    """Add up the whole ledger from its counters, without looking at a single order.

    Args:
        connection: One snapshot.
        positions: The partitions' positions in it, if they have been read.
    """
    if positions is None:
        positions = read_positions(connection)
    result = _tally(
        connection.execute(
            sa.select(
                tallies.c.status,
                tallies.c.currency,
                tallies.c.orders,
                tallies.c.amount_high,
                tallies.c.amount_low,
            )
        )
    )
    result.created = sum(position.created for position in positions)
    result.open = sum(position.open for position in positions)
    return result


OUTCOME_COUNTS = sa.select(
    outcomes.c.status,
    outcomes.c.currency,
    sa.func.count(),
    sa.func.sum(outcomes.c.amount.bitwise_rshift(sa.cast(LOW_BITS, sa.Integer))),
    sa.func.sum(outcomes.c.amount.bitwise_and(LOW_MASK)),
).group_by(outcomes.c.status, outcomes.c.currency)
"""Counts outcomes and adds up their amounts, in halves that cannot overflow; of those chosen."""


def run_totals(connection: sa.Connection, run_id: str, created: int) -> Totals:
    """Add up the outcomes of the orders that one run wrote; ``created`` is how many."""
    result = _tally(
        connection.execute(
            OUTCOME_COUNTS.join(
                journal,
                (journal.c.partition == outcomes.c.partition)
                & outcomes.c.number.between(journal.c.first, journal.c.last),
            ).where(journal.c.run_id == run_id)
        )
    )
    result.created = created
    result.open = created - result.settled
    return result


def _tally(rows: Iterable[Any]) -> Totals:
    """Sum money in Python's integers: a database's would overflow, or become floating point."""
    counts: Counter[str] = Counter()
    paid: Counter[str] = Counter()
    for status, currency, orders, high, low in rows:
        counts[status] += int(orders)
        if status == "paid":
            paid[currency] += (int(high) << LOW_BITS) + int(low)
    return Totals(
        paid=counts["paid"],
        declined=counts["declined"],
        dead=counts["dead"],
        paid_amount=dict(sorted(paid.items())),
    )
