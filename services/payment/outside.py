"""An outside gateway: how to make one, and what it declares of itself."""

from __future__ import annotations

import inspect
import math
from typing import TYPE_CHECKING, NamedTuple

from shared.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable

    from services.payment.faults import Faults

KEY_LIFETIME = 24 * 3600.0
"""Seconds for which a backend keeps a key, if it does not say."""

KEY_MARGIN = 3600.0
"""A key is not used any more for so long before its end."""

SETTLES_WITHIN = 60.0
"""Seconds after which a look-up sees every charge, if the gateway does not say."""


class Traits(NamedTuple):
    """What a gateway declares; the port says what each means."""

    is_async: bool
    idempotent: bool
    key_lifetime: float
    can_look_up: bool
    settles_within: float
    can_ping: bool
    concurrent: bool

    @property
    def can_resolve(self) -> bool:
        """Whether a doubt about one of its charges can end by itself."""
        return self.idempotent or self.can_look_up


class OutsideGateway(NamedTuple):
    """A gateway that is not the ledger's own.

    Attributes:
        name: What it is called: as ``PAYMENT_GATEWAY`` has it, without what is secret in it.
        make: Makes one, or returns the only one there is.
        traits: What it declares.
        faults: What is to fail on purpose before it is asked.
    """

    name: str
    make: Callable[[], object]
    traits: Traits
    faults: Faults | None = None


def read_traits(name: str, gateway: object) -> Traits:
    """Read what a gateway declares.

    Raises:
        ConfigurationError: Something of it makes no sense.
    """
    return Traits(
        is_async=inspect.iscoroutinefunction(getattr(gateway, "charge", None)),
        idempotent=_flag(name, gateway, "idempotent"),
        key_lifetime=_seconds(name, gateway, "key_lifetime", KEY_LIFETIME),
        can_look_up=_method(name, gateway, "lookup"),
        settles_within=_seconds(name, gateway, "settles_within", SETTLES_WITHIN),
        can_ping=_method(name, gateway, "ping"),
        concurrent=_flag(name, gateway, "concurrent"),
    )


def _flag(name: str, gateway: object, attribute: str) -> bool:
    found = getattr(gateway, attribute, False)
    if not isinstance(found, bool):
        raise ConfigurationError(
            f"PAYMENT_GATEWAY={name} declares {attribute} = {found!r}; it must be True or False"
        )
    return found


def _seconds(name: str, gateway: object, attribute: str, default: float) -> float:
    found = getattr(gateway, attribute, default)
    is_number = isinstance(found, int | float) and not isinstance(found, bool)
    if not is_number or math.isnan(found) or found < 0:
        raise ConfigurationError(
            f"PAYMENT_GATEWAY={name} declares {attribute} = {found!r}; it must be a number of "
            "seconds, 0 or more"
        )
    return float(found)


def _method(name: str, gateway: object, attribute: str) -> bool:
    found = getattr(gateway, attribute, None)
    if found is not None and not callable(found):
        raise ConfigurationError(
            f"PAYMENT_GATEWAY={name} declares {attribute} = {found!r}; it must be a method"
        )
    return found is not None
