"""A gateway that fails on purpose, for demonstrations and tests.

Whether it fails follows from a hash of order and attempt alone, so that a serial replay can
predict every outcome.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from services.payment.gateway import PermanentFailure, TransientFailure

if TYPE_CHECKING:
    from services.payment.gateway import Charge, Declined, Gateway, Paid


class Faults:
    """Lets only some charges through.

    Args:
        transient: Share of attempts that fail transiently, 0 to 1.
        permanent: Share of attempts that fail permanently, 0 to 1.
        seed: Another seed fails others.
    """

    def __init__(self, transient: float, permanent: float, seed: int) -> None:
        self._permanent = permanent
        self._failing = permanent + transient
        self._seed = seed

    def strike(self, charge: Charge) -> None:
        """Draw a number from 0 to 1 for this attempt, and fail if it falls into a share.

        Raises:
            TransientFailure: It does.
            PermanentFailure: Or so.
        """
        key = f"{self._seed}/{charge.order.order_id}/{charge.attempt}"
        drawn = int.from_bytes(hashlib.blake2b(key.encode(), digest_size=8).digest()) / 2**64
        if drawn < self._permanent:
            raise PermanentFailure("card refused by issuer (injected)")
        if drawn < self._failing:
            raise TransientFailure("gateway timed out (injected)")


class FaultyGateway:
    """Stands before another gateway, and fails in its place.

    Args:
        gateway: Who answers when there is no fault.
        faults: What there is.

    Attributes:
        gateway: Who answers.
    """

    def __init__(self, gateway: Gateway, faults: Faults) -> None:
        self.gateway = gateway
        self._faults = faults

    def charge(self, charge: Charge) -> Paid | Declined:
        """Fail, or ask."""
        self._faults.strike(charge)
        return self.gateway.charge(charge)
