"""Payment gateways of a test's own, written into its folder as somebody's module would be."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.orderly import Orderly

_HELD = """
import os
import threading

from services.payment.gateway import LedgerGateway


class Held(LedgerGateway):
    idempotent = True

    def charge(self, charge):
        while not os.path.exists("go"):
            threading.Event().wait(0.01)
        return super().charge(charge)
"""
_SLOW = """
import threading

from services.payment.gateway import LedgerGateway


class Slow(LedgerGateway):
    idempotent = concurrent = True

    def charge(self, charge):
        threading.Event().wait({seconds})
        return super().charge(charge)
"""


def hold(orderly: Orderly) -> Path:
    """Have the gateway wait, in every charge, until the file that is returned is there."""
    (orderly.folder / "held.py").write_text(_HELD)
    orderly.environment |= {"PAYMENT_GATEWAY": "held:Held", "GATEWAY_TIMEOUT": "600"}
    return orderly.folder / "go"


def slow_down(orderly: Orderly, seconds: float) -> None:
    """Have every charge take so long."""
    (orderly.folder / "slow.py").write_text(_SLOW.format(seconds=seconds))
    orderly.environment["PAYMENT_GATEWAY"] = "slow:Slow"
