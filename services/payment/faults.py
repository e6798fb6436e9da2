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


class FaultyGateway:
    """Stands before another gateway and lets only some charges through.

    Args:
        gateway: Who answers when there is no fault.
        transient: Share of attempts that fail transiently, 0 to 1.
        permanent: Share of attempts that fail permanently, 0 to 1.
        seed: Another seed fails others.

    Attributes:
        gateway: Who answers.
    """

    def __init__(self, gateway: Gateway, transient: float, permanent: float, seed: int) -> None:
        self.gateway = gateway
        self._permanent = permanent
        self._failing = permanent + transient
        self._seed = seed

    def charge(self, charge: Charge) -> Paid | Declined:
        """Draw a number from 0 to 1 for this attempt, and fail if it falls into a share."""
        key = f"{self._seed}/{charge.order.order_id}/{charge.attempt}"
        drawn = int.from_bytes(hashlib.blake2b(key.encode(), digest_size=8).digest()) / 2**64
        if drawn < self._permanent:
            raise PermanentFailure("card refused by issuer (injected)")
        if drawn < self._failing:
            raise TransientFailure("gateway timed out (injected)")
        return self.gateway.charge(charge)
