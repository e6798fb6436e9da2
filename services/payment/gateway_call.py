"""Asking a gateway within a settlement: what its answer does to the order.

Nothing that it returns or raises is worse than an outcome for that one order.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from services.payment.faults import FaultyGateway
from services.payment.gateway import Charge, LedgerGateway
from services.payment.verdicts import Kind, of_charge, of_failure
from shared.texts import legible

if TYPE_CHECKING:
    from services.payment.gateway import Gateway
    from shared.schema import Order, PaymentStatus

INVALID_ATTEMPTS = 3
"""Attempts at an order on which the gateway itself breaks."""

LEAST_BALANCE = -(2**63)
"""The largest debt that an account can hold, in minor units."""

DEBT = "invalid: the account cannot hold so large a debt"


class Answer(NamedTuple):
    """What becomes of an order; without a status it has to wait. The reason is legible."""

    status: PaymentStatus | None
    reason: str | None


_PAID = Answer("paid", None)


class GatewayCaller:
    """Asks one gateway.

    Args:
        gateway: Who takes the money.
        max_attempts: Attempts before an order is dead.
    """

    def __init__(self, gateway: Gateway, max_attempts: int) -> None:
        self._gateway = gateway
        self._max_attempts = max_attempts
        asked = gateway.gateway if type(gateway) is FaultyGateway else gateway
        self._is_ours = type(asked) is LedgerGateway

    def ask(self, order: Order, amount: int, balance: int, attempt: int, failures: int) -> Answer:
        """Ask for an order's money; ``failures`` is how many there are if it fails now."""
        given = order if self._is_ours else copy_of(order)
        most = 0
        try:
            verdict = of_charge(self._gateway.charge(Charge(given, amount, balance, attempt)))
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # noqa: BLE001  whatever a gateway may raise
            verdict = of_failure(error)
            most = min(INVALID_ATTEMPTS, self._max_attempts)
        match verdict.kind:
            case Kind.PAID:
                is_held = balance - amount >= LEAST_BALANCE
                return _PAID if is_held else Answer("dead", DEBT)
            case Kind.DECLINED:
                return Answer("declined", verdict.reason)
            case Kind.REFUSED:
                return Answer("dead", verdict.reason)
            case Kind.FAILED:
                return Answer(None if failures < self._max_attempts else "dead", verdict.reason)
        return Answer(None if failures < most else "dead", legible(f"invalid: {verdict.reason}"))


def copy_of(order: Order) -> Order:
    """Copy an order for somebody else's code; it is what the journal holds, and not lent out."""
    return order.model_copy(update={"items": tuple([item.model_copy() for item in order.items])})
