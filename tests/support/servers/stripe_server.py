"""localstripe: a Stripe server that others wrote, which keeps its payments in memory."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import httpx
from typing_extensions import override

from tests.support.servers.daemon import Daemon, free_port

if TYPE_CHECKING:
    from collections.abc import Iterator

KEY = "sk_test_orderly"

# Its own command listens to the whole network, and writes all it knows to one file of the machine
# after each change: in time that grows with the square of the payments.
_RUN = """
import sys
from aiohttp import web
from localstripe import resources, server
resources.Store.dump_to_disk = lambda store: None
web.run_app(server.app, host="127.0.0.1", port=int(sys.argv[1]), print=None)
"""


class StripeServer(Daemon):
    """One such server.

    Attributes:
        port: Where it listens.
    """

    def __init__(self) -> None:
        self.port = free_port()
        super().__init__("stripe")
        self.start()

    def payments(self) -> Iterator[dict[str, Any]]:
        """List all of its payments, the oldest first."""
        asked: dict[str, Any] = {"limit": 100}
        with httpx.Client(base_url=self.url, auth=(KEY, ""), timeout=60) as client:
            while True:
                page = client.get("/v1/payment_intents", params=asked).raise_for_status().json()
                yield from page["data"]
                if not page["has_more"]:
                    return
                asked["starting_after"] = page["data"][-1]["id"]

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self.port}"

    @override
    def _command(self) -> list[str]:
        return [sys.executable, "-c", _RUN, str(self.port)]

    @override
    def _answers(self) -> bool:
        try:
            return httpx.get(f"{self.url}/v1/balance", auth=(KEY, "")).is_success
        except httpx.TransportError:
            return False
