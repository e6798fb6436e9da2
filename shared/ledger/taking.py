"""Taking orders up: reading from the journal what comes after a cursor, or one order again."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from shared.ledger.entries import body, entry_at, following, row_at
from shared.ledger.journal import ENTRY_BYTES
from shared.schema import decode_batch

if TYPE_CHECKING:
    import sqlalchemy as sa

    from shared.ledger.entries import Entry
    from shared.schema import Order


class Taken(NamedTuple):
    """An order and what the journal says of it.

    Attributes:
        number: Its place in its partition.
        size: Bytes that it takes there, about.
        attempts: What it had behind it when it was given this number.
        generation: Of its first key under this number.
        accepted_at: Microseconds since 1970.
    """

    number: int
    order: Order
    size: int
    attempts: int
    generation: int
    accepted_at: int


def take_after(
    connection: sa.Connection, partition: int, number: int, most: int, head: int
) -> list[Taken]:
    """Read the orders after a number that is below the head: at most so many, and so many bytes."""
    entry = entry_at(connection, partition, number + 1)
    raw = body(connection, partition, entry.first)
    found = _taken(entry, raw)[number + 1 - entry.first :]
    size = len(raw)
    if len(found) < most and entry.last < head:
        for small, raw in following(connection, partition, entry.last):
            size += len(raw)
            if len(found) >= most or size > ENTRY_BYTES:
                break
            found += _taken(small, raw)
    return found[:most]


def _taken(entry: Entry, raw: bytes) -> list[Taken]:
    orders = decode_batch(raw).orders
    size = len(raw) // len(orders)
    return [
        Taken(number, order, size, entry.attempts, entry.generation, entry.accepted_at)
        for number, order in enumerate(orders, entry.first)
    ]


def take_again(connection: sa.Connection, partition: int, number: int) -> Taken:
    """Read one order again."""
    row = row_at(connection, partition, number)
    orders = decode_batch(row.body).orders
    order, size = orders[number - row.first], len(row.body) // len(orders)
    return Taken(number, order, size, row.attempts, row.generation, row.accepted_at)
