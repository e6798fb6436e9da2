"""Asking a gateway: what it is handed, and what its answer means, whatever that is.

A gateway of one's own is somebody else's code: it gets an order of its own to do with as it likes,
and nothing that it returns or raises is worse than an outcome for that one order.
"""

from __future__ import annotations

import inspect
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

from services.payment.faults import FaultyGateway
from services.payment.gateway import (
    Charge,
    Declined,
    LedgerGateway,
    Paid,
    PermanentFailure,
    TransientFailure,
)
from shared.texts import legible, of_error, said, shown

if TYPE_CHECKING:
    from services.payment.gateway import Gateway
    from shared.schema import Order, PaymentStatus

INVALID_ATTEMPTS = 3
"""Attempts at an order on which the gateway itself breaks."""

_LEAST_BALANCE = -(2**63)


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
        # The order itself is what the journal holds, and may be needed again: it is not lent out.
        given = order if self._is_ours else _copy(order)
        try:
            answer: object = self._gateway.charge(Charge(given, amount, balance, attempt))
        except PermanentFailure as failure:
            return Answer("dead", said(failure) or "refused for good")
        except TransientFailure as failure:
            again = failures < self._max_attempts
            return Answer(None if again else "dead", said(failure) or "no answer")
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # noqa: BLE001  whatever a gateway of one's own may raise
            again = failures < min(INVALID_ATTEMPTS, self._max_attempts)
            return Answer(None if again else "dead", legible(f"invalid: {of_error(error)}"))
        # By the type, since what an object says of its class is somebody else's code, too.
        if not issubclass(type(answer), Paid):
            return _understand(answer)
        if balance - amount < _LEAST_BALANCE:
            return Answer("dead", "invalid: the account cannot hold so large a debt")
        return _PAID


def _copy(order: Order) -> Order:
    return order.model_copy(update={"items": tuple([item.model_copy() for item in order.items])})


def _understand(answer: object) -> Answer:
    """Find out what an answer means that is no payment."""
    if issubclass(type(answer), Declined):
        return Answer("declined", _reason(answer))
    return Answer("dead", legible(f"invalid: the gateway answered {_describe(answer)}"))


def _reason(answer: object) -> str:
    """Read why an order is declined, which need be neither there nor a text."""
    try:
        reason = getattr(answer, "reason", None)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # noqa: BLE001  a property of somebody else's
        return legible(f"no reason: {of_error(error)}")
    return "no reason given" if reason is None else said(reason) or "no reason given"


def _describe(answer: object) -> str:
    """Say what an answer is that is none."""
    if inspect.iscoroutine(answer):
        with suppress(Exception):
            answer.close()  # else Python complains that nobody awaits it
        return "a coroutine; its charge must not be async"
    if isinstance(answer, type) and issubclass(answer, Paid | Declined):
        return f"the class {answer.__name__}; return PAID or Declined(reason)"
    return shown(answer)
