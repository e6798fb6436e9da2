"""What comes next in a partition, read from the journal or from a message that it vouches for.

A message says where to look; the cursor says what is next; the journal says what that is. So a
message that comes twice, late, never or from a stranger changes nothing: its orders are used only
if the journal vouches for its very bytes, and the journal's own are used otherwise.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple

from shared.errors import InvalidBatch
from shared.ledger.accounts import balances as balances_of
from shared.ledger.accounts import customer_account
from shared.ledger.entries import body as entry_body
from shared.ledger.entries import entry_at, following
from shared.ledger.journal import ENTRY_BYTES, digest
from shared.ledger.resolutions import read_resolutions
from shared.schema import decode_batch, read_header

if TYPE_CHECKING:
    from collections.abc import Iterator

    import sqlalchemy as sa

    from shared.ledger.cursors import Cursor
    from shared.ledger.ledger import Ledger
    from shared.ledger.resolutions import Resolution
    from shared.schema import BatchHeader, Order


class Delivery(StrEnum):
    """What a message turned out to be."""

    FRESH = "fresh"
    EARLY = "early"
    REDELIVERED = "redelivered"
    NUDGE = "nudge"
    FORGED = "forged"
    FOREIGN = "foreign"
    UNREADABLE = "unreadable"


@dataclass(frozen=True, slots=True)
class _Parsed:
    """An entry's orders, and the digest by which the journal vouches for them."""

    digest: bytes
    orders: tuple[Order, ...]


class _Part(NamedTuple):
    """Orders of one entry: what they have behind them, and when they were accepted."""

    orders: tuple[Order, ...]
    attempts_before: int
    accepted_at: int


@dataclass(frozen=True, slots=True)
class NextBatch:
    """What comes next in a partition, and the balances that it starts from.

    Attributes:
        resolutions: What was found out about those of its orders that were dead before.
    """

    cursor: Cursor
    parts: list[_Part]
    balances: dict[str, int]
    resolutions: dict[str, Resolution]

    def orders(self) -> Iterator[tuple[Order, int]]:
        """Each order, with the attempts that it has behind it."""
        for part in self.parts:
            for order in part.orders:
                yield order, part.attempts_before


class BatchFinder:
    """Finds what is next; remembers the orders that it has parsed last, by partition.

    Args:
        ledger: Where to look.
        batch_size: Most orders that are settled at once.
    """

    def __init__(self, ledger: Ledger, batch_size: int) -> None:
        self._ledger = ledger
        self._batch_size = batch_size
        self._latest: dict[int, _Parsed] = {}

    def recognise(
        self, connection: sa.Connection, cursor: Cursor, header: BatchHeader, message: bytes
    ) -> Delivery:
        """Find out what a message that carries orders is, and keep them if they come next."""
        known = digest(message)
        delivery = compare(connection, cursor, header, known)
        if delivery is Delivery.FRESH:
            self._latest[cursor.partition] = _Parsed(known, decode_batch(message).orders)
        return delivery

    def find(self, connection: sa.Connection, cursor: Cursor) -> NextBatch | None:
        """Read what comes after the cursor; None if nothing is open."""
        if cursor.number >= cursor.head:
            return None
        parts = self._parts(connection, cursor)
        names = {account_of(order) for part in parts for order in part.orders}
        balances = balances_of(self._ledger, connection, cursor.partition, names)
        retried = [each.order_id for part in parts if part.attempts_before for each in part.orders]
        resolutions = read_resolutions(self._ledger, connection, retried)
        return NextBatch(cursor, parts, balances, resolutions)

    def _parts(self, connection: sa.Connection, cursor: Cursor) -> list[_Part]:
        """Read the orders after the cursor: of its entry, and of small ones that follow.

        A trickle leaves entries of few orders each; one by one they would cost a commit each.
        """
        partition = cursor.partition
        limit = 1 if cursor.number < cursor.singly_until else self._batch_size
        entry = entry_at(connection, partition, cursor.number + 1)
        batch = self._latest.get(partition)
        if batch is None or batch.digest != entry.digest:
            body = entry_body(connection, partition, entry.first)
            batch = _Parsed(entry.digest, decode_batch(body).orders)
        start = cursor.number + 1 - entry.first
        parts = [_Part(batch.orders[start : start + limit], entry.attempts, entry.accepted_at)]
        room = limit - len(parts[0].orders)
        size = 0
        if room and entry.last < cursor.head:
            for small, body in following(connection, partition, entry.last):
                room -= small.last - small.first + 1
                size += len(body)
                if room < 0 or size > ENTRY_BYTES:
                    break
                batch = _Parsed(small.digest, decode_batch(body).orders)
                parts.append(_Part(batch.orders, small.attempts, small.accepted_at))
        self._latest[partition] = batch
        return parts


def read_destination(ledger: Ledger, message: bytes) -> BatchHeader | Delivery:
    """Read where a message points to; or what it is, if that is nowhere in this ledger."""
    try:
        header = read_header(message)
    except InvalidBatch:
        return Delivery.UNREADABLE
    if header.ledger_id != ledger.ledger_id or header.partition >= ledger.partitions:
        return Delivery.FOREIGN
    return header


def compare(
    connection: sa.Connection, cursor: Cursor, offered: BatchHeader, known: bytes
) -> Delivery:
    """Hold a message that carries orders, and its digest, against the journal and the cursor."""
    if not 1 <= offered.first <= offered.last <= cursor.head:
        return Delivery.FORGED
    entry = entry_at(connection, offered.partition, offered.first)
    if (entry.first, entry.last, entry.digest) != (offered.first, offered.last, known):
        return Delivery.FORGED
    if offered.last <= cursor.number:
        return Delivery.REDELIVERED
    return Delivery.FRESH if offered.first <= cursor.number + 1 else Delivery.EARLY


def account_of(order: Order) -> str:
    """The account that an order is paid from."""
    return customer_account(order.customer_id, order.currency)
