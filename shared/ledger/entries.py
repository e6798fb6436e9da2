"""Entries of the journal, as they are read: by a number in them, or one after another, or all."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, TypedDict

import sqlalchemy as sa

from shared.ledger.database.tables import journal, outcomes
from shared.schema import decode_batch

if TYPE_CHECKING:
    from collections.abc import Iterator

    from shared.schema import Order

FOLLOWING = 100
"""Most small entries that are read together after one."""


class Placed(TypedDict):
    """An accepted order and where it is; ``total`` in minor units."""

    order_id: str
    customer_id: str
    status: str
    total: int
    currency: str
    partition: int
    number: int
    attempts: int


class Entry(NamedTuple):
    """A journal entry, without its body."""

    first: int
    last: int
    digest: bytes
    attempts: int
    accepted_at: int
    generation: int


def entry_at(connection: sa.Connection, partition: int, number: int) -> Entry:
    """Find the journal entry that holds a number."""
    row = connection.execute(_ENTRY_AT, {"partition": partition, "number": number}).one()
    return Entry(*row)


def row_at(connection: sa.Connection, partition: int, number: int) -> sa.Row[Any]:
    """Read all of the journal entry that holds a number, with body and run."""
    return connection.execute(_ROW_AT, {"partition": partition, "number": number}).one()


def body(connection: sa.Connection, partition: int, first: int) -> bytes:
    """Read the encoded OrderBatch of the entry that starts at ``first``."""
    found: bytes = connection.execute(_BODY, {"partition": partition, "first": first}).scalar_one()
    return found


def following(
    connection: sa.Connection, partition: int, number: int
) -> Iterator[tuple[Entry, bytes]]:
    """Yield the entries after the one that ends at ``number``, with bodies, as far as one reads."""
    rows = connection.execute(_FOLLOWING, {"partition": partition, "number": number})
    for *entry, found in rows:
        yield Entry(*entry), found


def accepted_orders(connection: sa.Connection) -> Iterator[tuple[int, int, Order]]:
    """Yield every accepted order with its partition and number, in the journal's order.

    An order that was retried under a new number comes once, at the new one.
    """
    bodies = connection.execution_options(yield_per=16).execute(
        sa.select(journal.c.partition, journal.c.first, journal.c.body).order_by(
            journal.c.partition, journal.c.first
        )
    )
    retried = _retried(connection)
    for partition, first, body in bodies:
        for number, order in enumerate(decode_batch(body).orders, first):
            if (partition, number) not in retried:
                yield partition, number, order


def _retried(connection: sa.Connection) -> set[tuple[int, int]]:
    rows = connection.execute(
        sa.select(outcomes.c.partition, outcomes.c.number).where(outcomes.c.status == "retried")
    )
    return {(partition, number) for partition, number in rows}


_ENTRY = (
    journal.c.first,
    journal.c.last,
    journal.c.digest,
    journal.c.attempts,
    journal.c.accepted_at,
    journal.c.generation,
)
_HOLDS_NUMBER = (
    journal.c.partition == sa.bindparam("partition"),
    journal.c.first <= sa.bindparam("number"),
)
_LATEST = journal.c.first.desc()
_ENTRY_AT = sa.select(*_ENTRY).where(*_HOLDS_NUMBER).order_by(_LATEST).limit(1)
_ROW_AT = sa.select(journal).where(*_HOLDS_NUMBER).order_by(_LATEST).limit(1)
_BODY = sa.select(journal.c.body).where(
    journal.c.partition == sa.bindparam("partition"), journal.c.first == sa.bindparam("first")
)
_FOLLOWING = (
    sa.select(*_ENTRY, journal.c.body)
    .where(
        journal.c.partition == sa.bindparam("partition"),
        journal.c.first > sa.bindparam("number"),
    )
    .order_by(journal.c.first)
    .limit(FOLLOWING)
)
