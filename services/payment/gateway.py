"""The payment gateway: the backend that a consumer calls to take the money for one order.

The built-in one is the ledger itself: it knows what the customer has. ``PAYMENT_GATEWAY`` names
one of your own; ``examples/own_gateway.py`` is a whole one. A gateway answers ``PAID`` or
``Declined``, or it fails:

- ``TransientFailure``: try again later, up to MAX_ATTEMPTS times, then the order is dead
- ``PermanentFailure``: trying again is of no use, the order is dead at once
- any other exception: a fault of the gateway itself; tried three times, then dead as invalid

It may do with ``charge.order`` what it likes: it is a copy. Reasons are made legible, and cut to
500 characters.

A gateway is called outside of every transaction and may be called again for an order whose answer
was lost in a crash: ``order_id`` is the idempotency key to hand on to the real thing. It is called
for one customer's orders one at a time and in their order. A call should end within STALL_AFTER
seconds, or its worker is taken for dead.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    from shared.schema import Order


@dataclass(frozen=True, slots=True)
class Charge:
    """A request to take the money for one order.

    Attributes:
        order: What is paid for; its ``order_id`` is the idempotency key.
        amount: The order's total, in minor units of its currency.
        balance: What the customer's account holds in the ledger, in minor units. The ledger's own
            gateway takes no more than that; another may, and leave the account below zero.
        attempt: 1 at first, and one more after each failure.
    """

    order: Order
    amount: int
    balance: int
    attempt: int


@dataclass(frozen=True, slots=True)
class Paid:
    """The money was taken."""


@dataclass(frozen=True, slots=True)
class Declined:
    """The money was refused, for good."""

    reason: str


PAID: Final = Paid()


class TransientFailure(Exception):
    """The gateway could not answer; it may another time."""


class PermanentFailure(Exception):
    """The gateway will never take this order's money."""


class Gateway(Protocol):
    """What a gateway must offer."""

    def charge(self, charge: Charge) -> Paid | Declined:
        """Take the money for one order.

        Raises:
            TransientFailure: Try again later.
            PermanentFailure: Do not.
        """


class LedgerGateway:
    """Pays from the customer's account in the ledger, as long as there is enough on it."""

    _refusal = Declined("insufficient funds")

    def charge(self, charge: Charge) -> Paid | Declined:
        """Compare the amount with the balance; settlement moves the money."""
        return PAID if charge.amount <= charge.balance else self._refusal
