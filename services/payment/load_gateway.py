"""The gateway that ``PAYMENT_GATEWAY`` names: the ledger's, one over HTTP, or one of one's own."""

from __future__ import annotations

import importlib
import inspect
import signal
import sys
from contextlib import chdir, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from services.payment.faults import Faults, FaultyGateway
from services.payment.gateway import LedgerGateway
from services.payment.outside import OutsideGateway, read_traits
from shared.errors import ConfigurationError
from shared.settings import parse_faults
from shared.texts import of_error

if TYPE_CHECKING:
    from collections.abc import Iterator

    from services.payment.gateway import Gateway
    from shared.settings import Settings

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def load_gateway(settings: Settings) -> Gateway | OutsideGateway:
    """Make the gateway that the settings name, with the faults that they ask for.

    Raises:
        ConfigurationError: It cannot be imported, or is no gateway.
    """
    shares = parse_faults(settings.gateway_faults)
    faults = None
    if shares["transient"] or shares["permanent"]:
        faults = Faults(shares["transient"], shares["permanent"], int(shares["seed"]))
    if settings.gateway_url is not None:
        from services.payment.http_loading import over_http  # noqa: PLC0415  few have need of it

        return over_http(settings, settings.gateway_url)._replace(faults=faults)
    if settings.payment_gateway != "ledger":
        return _import_gateway(settings.payment_gateway)._replace(faults=faults)
    return LedgerGateway() if faults is None else FaultyGateway(LedgerGateway(), faults)


def _import_gateway(name: str) -> OutsideGateway:
    module_name, _, path = name.partition(":")
    with _kept():
        found, gateway, charge = _make(name, module_name, path)
        if not callable(charge):
            raise ConfigurationError(f"PAYMENT_GATEWAY={name} has no method charge(charge)")
        traits = read_traits(name, gateway)
    if not inspect.isclass(found):
        return OutsideGateway(name, lambda: gateway, traits)
    return OutsideGateway(name, found, traits)


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


def _make(name: str, module_name: str, path: str) -> tuple[object, object, object]:
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
    return found, gateway, charge
