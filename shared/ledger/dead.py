"""Dead letters: orders that the gateway would not take, until somebody decides about them."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING, Any, NamedTuple

import sqlalchemy as sa

from shared import clock
from shared.ledger.reopening import reopen
from shared.ledger.tables import identities, outcomes
from shared.texts import legible

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from shared.ledger.opening import Ledger
    from shared.schema import Message

PAGE = 500
"""Dead letters that are looked up or retried at once, so that no transaction is long."""


class DeadLetter(NamedTuple):
    """An order that is dead; times in microseconds since 1970, amounts in minor units."""

    order_id: str
    partition: int
    number: int
    amount: int
    currency: str
    attempts: int
    reason: str | None
    settled_at: int
    discarded_at: int | None

    def as_dict(self) -> dict[str, Any]:
        """The letter as the commands print it, with times in RFC 3339."""
        return {
            **self._asdict(),
            "settled_at": clock.to_text(self.settled_at),
            "discarded_at": clock.to_text(self.discarded_at) if self.discarded_at else None,
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
    return sorted(set(found), key=_place)


def undecided(connection: sa.Connection, limit: int) -> list[DeadLetter]:
    """List the latest dead letters about which nobody has decided."""
    rows = connection.execute(
        _DEAD.where(_UNDECIDED)
        .order_by(None)
        .order_by(outcomes.c.settled_at.desc(), outcomes.c.partition, outcomes.c.number)
        .limit(limit)
    )
    return [_letter(row) for row in rows]


class RetriedAll(NamedTuple):
    """What it came to when every dead order was to be opened again.

    Attributes:
        messages: What to enqueue, one for each order that is open again.
        left: How many were left out, because somebody has discarded them.
    """

    messages: list[Message]
    left: int


def retry(
    ledger: Ledger, letters: Sequence[DeadLetter], *, undecided_only: bool = False
) -> list[Message]:
    """Give dead orders a new number each, so that they are settled again; return the messages.

    Somebody else may have retried one of them meanwhile: that one is passed over, so that two
    retries at once count as one.

    Args:
        ledger: Whose they are.
        letters: The orders; one that was discarded is opened, too, since somebody named it.
        undecided_only: Whether to pass over those that are discarded by now.
    """
    condition = _UNDECIDED if undecided_only else sa.true()
    messages: list[Message] = []
    for page in _pages(letters):
        with ledger.database.write() as connection:
            for partition, group in groupby(page, key=lambda letter: letter.partition):
                messages += reopen(ledger, connection, partition, list(group), condition)
    return messages


def retry_all(ledger: Ledger) -> RetriedAll:
    """Open every dead order again about which nobody has decided."""
    with ledger.database.read() as connection:
        waiting = [letter for letter in dead_letters(connection) if letter.discarded_at is None]
    messages = retry(ledger, waiting, undecided_only=True)
    with ledger.database.read() as connection:
        left = connection.scalar(_COUNT_DEAD.where(outcomes.c.changed_at.is_not(None))) or 0
    return RetriedAll(messages, left)


def discard(ledger: Ledger, letters: Sequence[DeadLetter]) -> int:
    """Mark dead orders as dealt with; they stay dead. Return how many were not so marked yet."""
    marked = 0
    for page in _pages(letters):
        with ledger.database.write() as connection:
            marked += connection.execute(
                outcomes.update()
                .where(*_THIS, outcomes.c.status == "dead", _UNDECIDED)
                .values(changed_at=clock.now_us()),
                [{"of": letter.partition, "at": letter.number} for letter in page],
            ).rowcount
    return marked


# Written out, so that the index of the dead applies.
_IS_DEAD = outcomes.c.status == sa.bindparam(None, "dead", literal_execute=True)
_UNDECIDED = outcomes.c.changed_at.is_(None)
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
    )
    .where(_IS_DEAD)
    .order_by(outcomes.c.partition, outcomes.c.number)
)
_COUNT_DEAD = sa.select(sa.func.count()).select_from(outcomes).where(_IS_DEAD)
_THIS = (
    outcomes.c.partition == sa.bindparam("of"),
    outcomes.c.number == sa.bindparam("at"),
)


def _letter(row: Any) -> DeadLetter:  # noqa: ANN401  a row of one query
    letter = DeadLetter(*row)
    # Made so when it was written, too, but not by every version that may have written here.
    return letter._replace(reason=legible(letter.reason)) if letter.reason else letter


def _place(letter: DeadLetter) -> tuple[int, int]:
    return letter.partition, letter.number


def _pages(letters: Sequence[DeadLetter]) -> Iterator[list[DeadLetter]]:
    ordered = sorted(set(letters), key=_place)
    return (ordered[start : start + PAGE] for start in range(0, len(ordered), PAGE))
