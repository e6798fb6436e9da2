"""Compares a gateway's book with the ledger, in memory that does not grow with either.

The book is read to its present end first, and then the ledger in one snapshot. What has happened in
between differs, too; so whatever does is looked at again, in the whole book and then in the ledger,
before anybody hears of it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from services.reconciling.differences import Difference, differences_of
from shared import clock
from shared.ledger.reconciling import doubtful_orders, paid_orders, standings

if TYPE_CHECKING:
    from collections.abc import Iterable

    from services.reconciling.gateways_book import Booked, GatewaysBook
    from shared.ledger.ledger import Ledger
    from shared.ledger.reconciling import Standing


@dataclass
class Comparison:
    """What came of it.

    Attributes:
        gateway: Whose book it was.
        charges: How many of this ledger's are in it.
        differences: What differs, and what was discarded.
        under_way: Charged orders that are not settled yet, and so differ from nothing.
        recent: Paid orders that the book does not show, and need not yet.
    """

    gateway: str
    charges: int = 0
    differences: list[Difference] = field(default_factory=list)
    under_way: int = 0
    recent: int = 0

    @property
    def ok(self) -> bool:
        """Whether nothing differs."""
        return all(each.is_listed_only for each in self.differences)

    def as_dict(self) -> dict[str, Any]:
        """Under the names that are printed."""
        return {
            "gateway": self.gateway,
            "charges": self.charges,
            "under_way": self.under_way,
            "recent": self.recent,
            "ok": self.ok,
            "differences": [each.as_dict() for each in self.differences],
        }


def compare(
    ledger: Ledger, book: GatewaysBook, gateway: str, *, settles_within: float
) -> Comparison:
    """Compare a book with the ledger.

    Args:
        ledger: The orders.
        book: The charges.
        gateway: Its name.
        settles_within: Seconds after which the book has every charge.

    Raises:
        BookUnavailable: The book cannot be read.
        LedgerUnavailable: The ledger cannot be.
    """
    comparison = Comparison(gateway)
    suspects, marks = _read_book(ledger, book)
    with ledger.database.read() as connection:
        for paid in paid_orders(connection):
            if not marks.has(paid.partition, paid.number):
                suspects.add(paid.order_id)
        suspects.update(doubtful_orders(connection))
    comparison.charges = book.count
    if not suspects:
        return comparison
    read_at = clock.now_us() - int(settles_within * clock.SECOND)
    charges: dict[str, list[Booked]] = {order_id: [] for order_id in suspects}
    for page in book.read():
        for charge in page:
            if charge.order_id in charges:
                charges[charge.order_id].append(charge)
    comparison.charges = book.count
    with ledger.database.read() as connection:
        found = standings(ledger, connection, sorted(suspects))
    for order_id in sorted(suspects):
        _conclude(comparison, order_id, found.get(order_id), charges[order_id], read_at)
    return comparison


class Marks:
    """A bit for each number of the journal."""

    def __init__(self) -> None:
        self._bits: dict[int, bytearray] = {}

    def has(self, partition: int, number: int) -> bool:
        """Whether a number is marked."""
        bits = self._bits.get(partition, b"")
        return number >> 3 < len(bits) and bool(bits[number >> 3] & 1 << (number & 7))

    def mark(self, partition: int, number: int) -> bool:
        """Mark a number; return whether it was already."""
        bits = self._bits.setdefault(partition, bytearray())
        if len(bits) <= number >> 3:
            bits.extend(bytes((number >> 3) - len(bits) + 1))
        was = bool(bits[number >> 3] & 1 << (number & 7))
        bits[number >> 3] |= 1 << (number & 7)
        return was


def _read_book(ledger: Ledger, book: GatewaysBook) -> tuple[set[str], Marks]:
    """Mark what was charged; return the orders that have to be looked at again, too."""
    suspects: set[str] = set()
    marks = Marks()
    for page in book.read():
        paid = [charge for charge in page if charge.is_paid]
        with ledger.database.read() as connection:
            found = standings(ledger, connection, _names(paid))
        for charge in paid:
            standing = found.get(charge.order_id)
            if standing is None or not _agrees(standing, charge):
                suspects.add(charge.order_id)
            if standing is not None and marks.mark(standing.partition, standing.number):
                suspects.add(charge.order_id)
    return suspects, marks


def _names(charges: Iterable[Booked]) -> list[str]:
    return list({charge.order_id for charge in charges})


def _agrees(standing: Standing, charge: Booked) -> bool:
    there = standing.status, standing.amount, standing.currency
    return there == ("paid", charge.amount, charge.currency)


def _conclude(
    comparison: Comparison,
    order_id: str,
    standing: Standing | None,
    charges: list[Booked],
    read_at: int,
) -> None:
    """Say what is the matter with an order, now that both sides were looked at again."""
    found = differences_of(order_id, standing, charges, read_at)
    if standing is not None and not found:
        is_open = standing.status is None
        comparison.under_way += is_open and any(charge.is_paid for charge in charges)
        is_missing = standing.status == "paid" and not any(charge.is_paid for charge in charges)
        comparison.recent += is_missing
    comparison.differences += found
