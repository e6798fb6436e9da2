"""A payment gateway of one's own: a card network that sets a limit per order.

    PAYMENT_GATEWAY=examples.own_gateway:CardNetwork orderly run examples/journey-orders.csv --fresh

The port is ``services/payment/gateway.py``. This network never looks at ``charge.balance``:
where the card pays, an account in the ledger may well go below zero.
"""

from __future__ import annotations

from services.payment.gateway import (
    PAID,
    Charge,
    Declined,
    Paid,
    PermanentFailure,
    TransientFailure,
)
from shared.currencies import MINOR_DIGITS

LIMIT = 50
"""The most that a card pays for one order, in major units of the order's currency."""


class CardNetwork:
    """Takes money from cards. A worker makes one for each of its threads."""

    # What it may declare; services/payment/gateway.py has the rest. A network that knows the key
    # gives its first answer again instead of charging twice, and one that takes several calls at
    # once is called for many customers, each one's orders in their turn.
    idempotent = True
    concurrent = True

    def charge(self, charge: Charge) -> Paid | Declined:
        """Charge the customer's card for one order; hand ``charge.key`` on to the real thing."""
        order = charge.order
        if order.customer_id.startswith("blocked-"):
            raise PermanentFailure("customer is blocked")
        if order.order_id.endswith("7") and charge.attempt == 1:
            raise TransientFailure("card network did not answer")
        if charge.amount > LIMIT * 10 ** MINOR_DIGITS[order.currency]:
            return Declined(f"above the card's limit of {LIMIT} {order.currency}")
        return PAID
