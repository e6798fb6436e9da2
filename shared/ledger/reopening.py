"""Opening a dead order again: it goes on under a new number, at the end of its partition."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from shared import clock
from shared.ledger.database.tables import (
    LOW_BITS,
    LOW_MASK,
    heads,
    identities,
    journal,
    outcomes,
    tallies,
)
from shared.ledger.entries import row_at
from shared.ledger.journal import digest
from shared.schema import Message, decode_batch, encode_batch, encode_order

if TYPE_CHECKING:
    from shared.ledger.dead_letters import DeadLetter
    from shared.ledger.ledger import Ledger


def reopen(
    ledger: Ledger,
    connection: sa.Connection,
    partition: int,
    letters: list[DeadLetter],
    condition: sa.ColumnElement[bool],
) -> list[Message]:
    """Open dead orders of a partition again; return what to enqueue.

    Args:
        ledger: Whose they are.
        connection: A transaction that may write.
        partition: Where they are.
        letters: The orders, in the order of their numbers.
        condition: What must hold of an outcome, besides that it is dead, when its row is locked.
    """
    head = connection.execute(
        sa.select(heads.c.number).where(heads.c.partition == partition).with_for_update()
    ).scalar_one()
    letters = _still_dead(ledger, connection, partition, letters, condition)
    if not letters:
        return []
    now = clock.now_us()
    entries = [
        _entry(ledger, connection, letter, number) | {"accepted_at": now}
        for number, letter in enumerate(letters, head + 1)
    ]
    connection.execute(
        outcomes.update()
        .where(outcomes.c.partition == sa.bindparam("of"), outcomes.c.number == sa.bindparam("at"))
        .values(status="retried", changed_at=now),
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
    ledger: Ledger,
    connection: sa.Connection,
    partition: int,
    letters: list[DeadLetter],
    condition: sa.ColumnElement[bool],
) -> list[DeadLetter]:
    backend = ledger.database.backend
    rows = connection.execute(
        sa.select(outcomes.c.number)
        .where(
            outcomes.c.partition == partition,
            backend.any_of(outcomes.c.number, "values"),
            outcomes.c.status == "dead",
            condition,
        )
        .order_by(outcomes.c.number)
        .with_for_update(),
        {"values": backend.bind_list([letter.number for letter in letters])},
    )
    dead = set(rows.scalars())
    return [letter for letter in letters if letter.number in dead]


def _entry(
    ledger: Ledger, connection: sa.Connection, letter: DeadLetter, number: int
) -> dict[str, Any]:
    """Copy an order's journal entry to a new number; its run stays the one that took it in."""
    old = row_at(connection, letter.partition, letter.number)
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
        # Its last key is of no use any more: it was answered, or somebody has found out.
        "generation": 0 if letter.generation is None else letter.generation + 1,
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
