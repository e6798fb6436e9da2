"""Dead letters: orders that the gateway would not take, until somebody decides about them."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING, Any, NamedTuple

import sqlalchemy as sa

from shared import clock
from shared.ledger.journal import digest
from shared.ledger.tables import (
    LOW_BITS,
    LOW_MASK,
    heads,
    identities,
    journal,
    outcomes,
    tallies,
)
from shared.schema import Message, decode_batch, encode_batch, encode_order

if TYPE_CHECKING:
    from collections.abc import Sequence

    from shared.ledger.opening import Ledger

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
        return [DeadLetter(*row) for row in connection.execute(_DEAD)]
    of_these = _DEAD.join(
        identities,
        (identities.c.partition == outcomes.c.partition)
        & (identities.c.number == outcomes.c.number),
    )
    found: list[DeadLetter] = []
    for start in range(0, len(order_ids), PAGE):
        page = order_ids[start : start + PAGE]
        rows = connection.execute(of_these.where(identities.c.order_id.in_(page)))
        found += [DeadLetter(*row) for row in rows]
    return sorted(set(found), key=_place)


def undecided(connection: sa.Connection, limit: int) -> list[DeadLetter]:
    """List the latest dead letters about which nobody has decided."""
    rows = connection.execute(
        _DEAD.where(outcomes.c.changed_at.is_(None))
        .order_by(None)
        .order_by(outcomes.c.settled_at.desc(), outcomes.c.partition, outcomes.c.number)
        .limit(limit)
    )
    return [DeadLetter(*row) for row in rows]


def retry(ledger: Ledger, letters: Sequence[DeadLetter]) -> list[Message]:
    """Give dead orders a new number each, so that they are settled again; return the messages.

    Somebody else may have retried one of them meanwhile: that one is passed over, so that two
    retries at once count as one.
    """
    messages: list[Message] = []
    ordered = sorted(letters, key=_place)
    for start in range(0, len(ordered), PAGE):
        page = ordered[start : start + PAGE]
        with ledger.database.write() as connection:
            for partition, group in groupby(page, key=lambda letter: letter.partition):
                messages += _retry(ledger, connection, partition, list(group))
    return messages


def discard(ledger: Ledger, letters: Sequence[DeadLetter]) -> int:
    """Mark dead orders as dealt with; they stay dead. Return how many were not so marked yet."""
    if not letters:
        return 0
    with ledger.database.write() as connection:
        marked = connection.execute(
            outcomes.update()
            .where(*_THIS, outcomes.c.status == "dead", outcomes.c.changed_at.is_(None))
            .values(changed_at=clock.now_us()),
            [{"of": letter.partition, "at": letter.number} for letter in letters],
        )
        return marked.rowcount


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
    # Written out, so that the index of the dead applies.
    .where(outcomes.c.status == sa.bindparam(None, "dead", literal_execute=True))
    .order_by(outcomes.c.partition, outcomes.c.number)
)
_THIS = (
    outcomes.c.partition == sa.bindparam("of"),
    outcomes.c.number == sa.bindparam("at"),
)


def _place(letter: DeadLetter) -> tuple[int, int]:
    return letter.partition, letter.number


def _retry(
    ledger: Ledger, connection: sa.Connection, partition: int, letters: list[DeadLetter]
) -> list[Message]:
    head = connection.execute(
        sa.select(heads.c.number).where(heads.c.partition == partition).with_for_update()
    ).scalar_one()
    letters = _still_dead(ledger, connection, partition, letters)
    if not letters:
        return []
    now = clock.now_us()
    entries = [
        _entry(ledger, connection, letter, number) | {"accepted_at": now}
        for number, letter in enumerate(letters, head + 1)
    ]
    connection.execute(
        outcomes.update().where(*_THIS).values(status="retried", changed_at=now),
        [{"of": partition, "at": letter.number} for letter in letters],
    )
    connection.execute(
        heads.update().where(heads.c.partition == partition).values(number=head + len(letters))
    )
    connection.execute(
        identities.update()
        .where(identities.c.order_id == sa.bindparam("of"))
        .values(number=sa.bindparam("to")),
        [{"of": letter.order_id, "to": number} for number, letter in enumerate(letters, head + 1)],
    )
    connection.execute(journal.insert(), entries)
    _lower_tallies(connection, partition, letters)
    return [Message(partition, entry["body"]) for entry in entries]


def _still_dead(
    ledger: Ledger, connection: sa.Connection, partition: int, letters: list[DeadLetter]
) -> list[DeadLetter]:
    backend = ledger.database.backend
    rows = connection.execute(
        sa.select(outcomes.c.number)
        .where(
            outcomes.c.partition == partition,
            backend.any_of(outcomes.c.number, "values"),
            outcomes.c.status == "dead",
        )
        .with_for_update(),
        {"values": backend.bind_list([letter.number for letter in letters])},
    )
    dead = set(rows.scalars())
    return [letter for letter in letters if letter.number in dead]


def _entry(
    ledger: Ledger, connection: sa.Connection, letter: DeadLetter, number: int
) -> dict[str, Any]:
    """Copy an order's journal entry to a new number; its run stays the one that took it in."""
    old = connection.execute(
        sa.select(journal)
        .where(journal.c.partition == letter.partition, journal.c.first <= letter.number)
        .order_by(journal.c.first.desc())
        .limit(1)
    ).one()
    order = decode_batch(old.body).orders[letter.number - old.first]
    body = encode_batch(ledger.ledger_id, letter.partition, number, [encode_order(order)])
    return {
        "partition": letter.partition,
        "first": number,
        "last": number,
        "digest": digest(body),
        "body": body,
        "run_id": old.run_id,
        "attempts": letter.attempts,
    }


def _lower_tallies(connection: sa.Connection, partition: int, letters: list[DeadLetter]) -> None:
    connection.execute(
        tallies.update()
        .where(
            tallies.c.partition == partition,
            tallies.c.status == "dead",
            tallies.c.currency == sa.bindparam("of"),
        )
        .values(
            orders=tallies.c.orders - 1,
            amount_high=tallies.c.amount_high - sa.bindparam("high"),
            amount_low=tallies.c.amount_low - sa.bindparam("low"),
        ),
        [
            {
                "of": letter.currency,
                "high": letter.amount >> LOW_BITS,
                "low": letter.amount & LOW_MASK,
            }
            for letter in letters
        ],
    )
