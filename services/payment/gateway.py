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

import importlib
import inspect
import signal
import sys
from contextlib import chdir, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol, cast

from shared.errors import ConfigurationError
from shared.settings import parse_faults
from shared.texts import of_error

if TYPE_CHECKING:
    from collections.abc import Iterator

    from shared.schema import Order
    from shared.settings import Settings

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


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


def load_gateway(settings: Settings) -> Gateway:
    """Make the gateway that the settings name, wrapped in the faults that they ask for.

    Raises:
        ConfigurationError: It cannot be imported, or is no gateway.
    """
    gateway: Gateway = LedgerGateway()
    if settings.payment_gateway != "ledger":
        gateway = _import_gateway(settings.payment_gateway)
    faults = parse_faults(settings.gateway_faults)
    if faults["transient"] or faults["permanent"]:
        from services.payment.faults import FaultyGateway

        gateway = FaultyGateway(
            gateway, faults["transient"], faults["permanent"], int(faults["seed"])
        )
    return gateway


def _import_gateway(name: str) -> Gateway:
    module_name, _, path = name.partition(":")
    with _kept():
        gateway, charge = _make(name, module_name, path)
    if not callable(charge):
        raise ConfigurationError(f"PAYMENT_GATEWAY={name} has no method charge(charge)")
    if inspect.iscoroutinefunction(charge):
        raise ConfigurationError(
            f"PAYMENT_GATEWAY={name} has an async charge, which nobody would await; make it a "
            "plain def that returns when it has its answer"
        )
    return cast("Gateway", gateway)


@contextmanager
def _kept() -> Iterator[None]:
    """Keep where this process is and speaks, and what signals do, while a module loads.

    Else a ledger named by a relative path would be another one, and no report would be printed.
    """
    streams = sys.stdin, sys.stdout, sys.stderr
    handlers = {number: signal.getsignal(number) for number in _SIGNALS}
    try:
        with chdir("."):
            yield
    finally:
        sys.stdin, sys.stdout, sys.stderr = streams
        for number, handler in handlers.items():
            if signal.getsignal(number) != handler and handler is not None:
                signal.signal(number, handler)


def _make(name: str, module_name: str, path: str) -> tuple[object, object]:
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.append(here)
    try:
        found = importlib.import_module(module_name)
        for part in path.split("."):
            found = getattr(found, part)
        gateway: object = found() if inspect.isclass(found) else found
        charge: object = getattr(gateway, "charge", None)
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        # Whatever one's own module raises while it loads is a fault of the configuration.
        said = of_error(error).replace(r"\n", " ")
        raise ConfigurationError(f"PAYMENT_GATEWAY={name} cannot be loaded: {said}") from error
    return gateway, charge
