"""What can be the matter with an order, by what the book and the ledger say of it."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Any, NamedTuple

from shared.texts import legible

if TYPE_CHECKING:
    from services.reconciling.gateways_book import Booked
    from shared.ledger.reconciling import Standing


class Kind(StrEnum):
    """What differs."""

    CHARGED = "charged, not paid"
    PAID = "paid, not charged"
    AMOUNT = "other amount"
    TWICE = "charged twice"
    DOUBT = "in doubt"
    DISCARDED = "discarded"


class Difference(NamedTuple):
    """An order of which book and ledger say different things.

    Attributes:
        standing: What the ledger says; None if it does not know the order.
        charges: What the book says.
        is_final: Whether a charge that the book does not show was not made, for certain.
        done: What was done about it.
    """

    kind: Kind
    order_id: str
    standing: Standing | None
    charges: list[Booked]
    is_final: bool = False
    done: str | None = None

    @property
    def is_listed_only(self) -> bool:
        """Whether somebody has dealt with it already."""
        return self.kind is Kind.DISCARDED

    @property
    def ledger_says(self) -> str:
        """The ledger's side, for people."""
        standing = self.standing
        if standing is None:
            return "never accepted"
        said = standing.status or ("open" if standing.state is None else "under way")
        if standing.changed_at is not None:
            said = "discarded"
        amount = f" {standing.amount} {standing.currency}" if standing.status == "paid" else ""
        return said + amount + (f" ({legible(standing.reason)})" if standing.reason else "")

    @property
    def book_says(self) -> str:
        """The book's side, for people."""
        told = [
            f"{'paid' if each.is_paid else 'declined'} {each.amount} {each.currency} as {each.id}"
            for each in self.charges
        ]
        return legible(", ".join(told)) if told else "nothing"

    def as_dict(self) -> dict[str, Any]:
        """Under the names that are printed."""
        standing = self.standing
        return {
            "kind": str(self.kind),
            "order_id": self.order_id,
            "status": None if standing is None else standing.status or "open",
            "amount": None if standing is None else standing.amount,
            "currency": None if standing is None else standing.currency,
            "reference": None if standing is None else standing.reference,
            "reason": None if standing is None else standing.reason,
            "charges": [
                {
                    "id": each.id,
                    "generation": each.generation,
                    "amount": each.amount,
                    "currency": each.currency,
                    "status": "paid" if each.is_paid else "declined",
                }
                for each in self.charges
            ],
            "done": self.done,
        }


def differences_of(
    order_id: str, standing: Standing | None, charges: list[Booked], read_at: int
) -> list[Difference]:
    """Say what is the matter with an order, if anything is.

    Args:
        order_id: Which.
        standing: What the ledger says; None if it does not know the order.
        charges: All that the book has of it.
        read_at: Until when the book has all that was charged, in microseconds since 1970.
    """
    paid = [charge for charge in charges if charge.is_paid]
    kinds = [Kind.TWICE] if len(paid) > 1 else []
    kind, is_final = _kind_of(standing, paid, read_at)
    if kind is not None:
        kinds.append(kind)
    return [Difference(each, order_id, standing, charges, is_final) for each in kinds]


def _kind_of(
    standing: Standing | None, paid: list[Booked], read_at: int
) -> tuple[Kind | None, bool]:
    """Name what differs, and whether what the book does not show was not made."""
    kind = Kind.CHARGED if paid else None
    if standing is None:
        return kind, False
    is_final = (standing.settled_at or 0) < read_at
    if standing.found is not None:
        kind = None  # somebody has filed it; it will be settled so
    elif standing.status == "paid":
        kind = _kind_of_paid(standing, paid, is_final=is_final)
    elif standing.changed_at is not None:
        kind = Kind.DISCARDED if paid or standing.in_doubt else None
    elif standing.in_doubt:
        kind = Kind.DOUBT
    elif standing.state == "called":
        kind = None  # it is under way; one that was not called cannot be charged
    return kind, is_final and standing.status == "dead"


def _kind_of_paid(standing: Standing, paid: list[Booked], *, is_final: bool) -> Kind | None:
    if not paid:
        is_of_another = standing.generation is None or not standing.amount
        return Kind.PAID if is_final and not is_of_another else None
    there = standing.amount, standing.currency
    return None if any((each.amount, each.currency) == there for each in paid) else Kind.AMOUNT
