"""Dead letters: orders that the gateway would not take."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import sqlalchemy as sa

from shared import clock
from shared.ledger.database.tables import identities, outcomes
from shared.texts import legible

if TYPE_CHECKING:
    from collections.abc import Sequence

PAGE = 500
"""Dead letters that are looked up or retried at once, so that no transaction is long."""


class DeadLetter(NamedTuple):
    """An order that is dead; times in microseconds since 1970, amounts in minor units.

    Attributes:
        generation: Of the last key that an outside gateway was asked with, if one was.
        doubtful_since: Since when it may have been charged, and nobody knows.
    """

    order_id: str
    partition: int
    number: int
    amount: int
    currency: str
    attempts: int
    reason: str | None
    settled_at: int
    discarded_at: int | None
    generation: int | None = None
    doubtful_since: int | None = None

    def as_dict(self) -> dict[str, Any]:
        """The letter as the commands print it, with times in RFC 3339."""
        fields = self._asdict()
        del fields["generation"], fields["doubtful_since"]
        return {
            **fields,
            "settled_at": clock.to_text(self.settled_at),
            "discarded_at": clock.to_text(self.discarded_at) if self.discarded_at else None,
            "in_doubt": self.doubtful_since is not None,
        }


def dead_letters(
    connection: sa.Connection, order_ids: Sequence[str] | None = None
) -> list[DeadLetter]:
    """List the dead letters, or those of them that are named; in the journal's order."""
    if order_ids is None:
        return [_letter(row) for row in connection.execute(_DEAD)]
    of_these = _DEAD.join(
        identities,
        (identities.c.partition == outcomes.c.partition)
        & (identities.c.number == outcomes.c.number),
    )
    found: list[DeadLetter] = []
    for start in range(0, len(order_ids), PAGE):
        page = order_ids[start : start + PAGE]
        rows = connection.execute(of_these.where(identities.c.order_id.in_(page)))
        found += [_letter(row) for row in rows]
    return sorted(set(found), key=place_of)


def undecided(connection: sa.Connection, limit: int) -> list[DeadLetter]:
    """List the latest dead letters about which nobody has decided."""
    rows = connection.execute(
        _DEAD.where(UNDECIDED)
        .order_by(None)
        .order_by(outcomes.c.settled_at.desc(), outcomes.c.partition, outcomes.c.number)
        .limit(limit)
    )
    return [_letter(row) for row in rows]


# Written out, so that the index of the dead applies.
IS_DEAD = outcomes.c.status == sa.bindparam(None, "dead", literal_execute=True)
CERTAIN = outcomes.c.doubtful_since.is_(None)
"""It was not charged; one that may have been is opened by a person who has found out."""

UNDECIDED = outcomes.c.changed_at.is_(None)
"""Nobody has decided about a dead order: whoever decides about all of them leaves out the rest."""

_DEAD = (
    sa.select(
        outcomes.c.order_id,
        outcomes.c.partition,
        outcomes.c.number,
        outcomes.c.amount,
        outcomes.c.currency,
        outcomes.c.attempts,
        outcomes.c.reason,
        outcomes.c.settled_at,
        outcomes.c.changed_at,
        outcomes.c.generation,
        outcomes.c.doubtful_since,
    )
    .where(IS_DEAD)
    .order_by(outcomes.c.partition, outcomes.c.number)
)


def _letter(row: Any) -> DeadLetter:  # noqa: ANN401  a row of one query
    letter = DeadLetter(*row)
    # Made so when it was written, too, but not by every version that may have written here.
    return letter._replace(reason=legible(letter.reason)) if letter.reason else letter


def place_of(letter: DeadLetter) -> tuple[int, int]:
    """Say where it is: partition and number, the journal's order."""
    return letter.partition, letter.number
