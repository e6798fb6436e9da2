"""The gateway to a payment backend over HTTP, as ``services.bank`` is one.

It honours keys. It is asked ``POST /charges`` with ``Idempotency-Key``; ``GET /charges?key=`` and
``?after=`` look charges up; ``GET /healthz`` says that it is there.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING
from urllib.parse import quote

from services.payment.gateway import InDoubt, Unavailable
from services.payment.http_answers import (
    MISSING,
    understand_charge,
    understand_lookup,
    understand_page,
    understand_ping,
)
from shared.ledger.accounts import customer_account

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from services.payment.gateway import BookedCharge, Charge, Declined, Paid, Uncharged
    from services.payment.http_client import Client

PAGE_BYTES = 4 * 1024 * 1024
"""The longest page of the book: a thousand charges, with the longest names that there may be."""


class HttpGateway:
    """Charges through a backend over HTTP.

    Args:
        client: Calls it.

    Attributes:
        settles_within: Seconds after a call's end in which its charge is to be seen by a look-up.
            A backend over HTTP commonly answers from the book that it writes; five seconds are for
            one that looks into a copy, and for a request that came to it late.
    """

    concurrent = True
    idempotent = True
    settles_within = 5.0

    def __init__(self, client: Client) -> None:
        self._client = client
        self._is_refused = False

    async def charge(self, charge: Charge) -> Paid | Declined:
        """Ask for an order's money."""
        order = charge.order
        asked = {
            "account": customer_account(order.customer_id, order.currency),
            "amount": charge.amount,
            "currency": order.currency,
            "reference": order.order_id,
        }
        body = json.dumps(asked, separators=(",", ":")).encode()
        answer = await self._client.post("/charges", body, {"Idempotency-Key": charge.key})
        self._is_refused = False
        try:
            return understand_charge(answer, charge)
        except Unavailable:
            self._is_refused = True
            raise

    async def lookup(self, charge: Charge) -> Paid | Declined | Uncharged:
        """Ask what has become of a charge."""
        answer = await self._client.get(f"/charges?key={quote(charge.key, safe='')}")
        return understand_lookup(answer, charge)

    async def ping(self) -> None:
        """Ask whether it is there, and whether it would have us again, if it would not."""
        try:
            answer = await self._client.get("/healthz")
            if self._is_refused or answer.status in MISSING:
                # Who is well says so to anybody; its list it shows to those whom it knows.
                listed = await self._client.get("/charges?key=-")
                answer = answer if listed.status in MISSING else listed
        except InDoubt as error:
            raise Unavailable(error) from None
        understand_ping(answer)

    async def charges(self, after: str = "0") -> AsyncIterator[BookedCharge]:
        """Read its book in the order in which it was written, page by page.

        Args:
            after: The id of the charge behind which to begin.
        """
        while True:
            path = f"/charges?after={quote(after, safe='')}"
            page = understand_page(await self._client.get(path, PAGE_BYTES))
            for booked in page:
                yield booked
            if not page:
                return
            after = page[-1].id

    async def close(self) -> None:
        """Close its connections."""
        await self._client.close()
