"""Deciding about dead letters: retry or discard. Nobody else opens an order again."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING, NamedTuple

import sqlalchemy as sa

from shared import clock
from shared.ledger.database.tables import outcomes
from shared.ledger.dead_letters import (
    CERTAIN,
    IS_DEAD,
    PAGE,
    UNDECIDED,
    dead_letters,
    place_of,
)
from shared.ledger.reopening import reopen
from shared.ledger.resolutions import file_resolution

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from shared.ledger.dead_letters import DeadLetter
    from shared.ledger.ledger import Ledger
    from shared.schema import Message


class RetriedAll(NamedTuple):
    """What it came to when every dead order was to be opened again.

    Attributes:
        messages: What to enqueue, one for each order that is open again.
        left: How many were left out, because somebody has discarded them.
        in_doubt: How many, because they may have been charged.
    """

    messages: list[Message]
    left: int
    in_doubt: int


def retry(
    ledger: Ledger,
    letters: Sequence[DeadLetter],
    *,
    undecided_only: bool = False,
    not_charged: bool = False,
) -> list[Message]:
    """Give dead orders a new number each, so that they are settled again; return the messages.

    Somebody else may have retried one of them meanwhile: that one is passed over, so that two
    retries at once count as one.

    Args:
        ledger: Whose they are.
        letters: The orders; one that was discarded is opened, too, since somebody named it.
        undecided_only: Whether to pass over those that are discarded by now.
        not_charged: Whether somebody has found out that those in doubt were not charged; else they
            are passed over.
    """
    condition: sa.ColumnElement[bool] = UNDECIDED if undecided_only else sa.true()
    if not not_charged:
        condition = sa.and_(condition, CERTAIN)
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
        in_doubt = connection.scalar(_COUNT_DEAD.where(UNDECIDED, sa.not_(CERTAIN))) or 0
    return RetriedAll(messages, left, in_doubt)


def settle_charged(ledger: Ledger, letter: DeadLetter, reference: str) -> list[Message]:
    """Have a dead order paid that the backend has charged, as somebody found out.

    It gets a new number at the end of its partition, and is paid there without another call.
    Nothing happens if somebody else has retried it meanwhile.

    Args:
        ledger: Whose it is.
        letter: The order.
        reference: What the backend calls the charge.
    """
    with ledger.database.write() as connection:
        messages = reopen(ledger, connection, letter.partition, [letter], sa.true())
        if messages:
            file_resolution(ledger, connection, letter.order_id, "paid", reference, by="operator")
    return messages


def discard(ledger: Ledger, letters: Sequence[DeadLetter]) -> int:
    """Mark dead orders as dealt with; they stay dead. Return how many were not so marked yet."""
    marked = 0
    for page in _pages(letters):
        with ledger.database.write() as connection:
            marked += connection.execute(
                outcomes.update()
                .where(*_THIS, outcomes.c.status == "dead", UNDECIDED)
                .values(changed_at=clock.now_us()),
                [{"of": letter.partition, "at": letter.number} for letter in page],
            ).rowcount
    return marked


_COUNT_DEAD = sa.select(sa.func.count()).select_from(outcomes).where(IS_DEAD)
_THIS = (
    outcomes.c.partition == sa.bindparam("of"),
    outcomes.c.number == sa.bindparam("at"),
)


def _pages(letters: Sequence[DeadLetter]) -> Iterator[list[DeadLetter]]:
    ordered = sorted(set(letters), key=place_of)
    return (ordered[start : start + PAGE] for start in range(0, len(ordered), PAGE))
