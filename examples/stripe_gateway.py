"""A gateway to a real backend: Stripe, or any server that speaks as Stripe does.

    pip install stripe
    STRIPE_API_KEY_FILE=stripe.key PAYMENT_GATEWAY=examples.stripe_gateway:Stripe orderly run

``STRIPE_API_KEY_FILE`` names a file with the secret key, ``STRIPE_API_KEY`` is the key itself,
``STRIPE_API_BASE`` another server's URL. Every charge is one PaymentIntent, confirmed at once; its
metadata have the three parts of the charge's key: ``ledger``, ``order_id`` and ``generation``.

``Stripe`` relies on keys, which Stripe keeps for a day; ``StripeByLookup`` on the list of payments
alone, for servers that ignore keys.

Both are asynchronous, on the library's client for aiohttp. Measured with a server that answers
after 100 ms and 256 calls at once, in one process: 1,220 calls/s and 0.7 ms of processor time for
each; with threads 360 and 2.8 ms, with its client for httpx, at 100 at once, 280 and 3.3 ms.
"""

from __future__ import annotations

import asyncio
import os
import ssl
import time
from contextlib import asynccontextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aiohttp
import stripe

from services.payment.gateway import (
    NOT_CHARGED,
    UNDER_WAY,
    BookedCharge,
    Charge,
    Declined,
    InDoubt,
    KeyInUse,
    KeySpent,
    Paid,
    PermanentFailure,
    RetryAfter,
    Unavailable,
    Uncharged,
)
from shared.errors import ConfigurationError
from shared.ledger.accounts import customer_account
from shared.passwords import read_password

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from shared.schema import Order

CONNECT_SECONDS = 1.0

NO_CONNECTION = aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError
"""What the client raises before anything is sent."""

SHORT_PAGE = 25
READ_SECONDS = 4.0
"""The longest wait for such a page, which several may wait for; localstripe is slow to list."""

PAGE = 100
"""The most payments that Stripe lists at once."""

OTHER_DIGITS = {"ISK", "MGA", "UGX"}
"""Currencies of whose amounts Stripe has another notion than ISO 4217."""

TENFOLD = {"BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND"}
"""Currencies of three digits: Stripe takes their amounts in tens only."""


class Stripe:
    """Charges through a server that honours keys."""

    concurrent = True
    idempotent = True
    key_lifetime = 24 * 3600.0
    settles_within = 60.0

    def __init__(self) -> None:
        self._key = _read_key()

    @cached_property
    def _client(self) -> stripe.AIOHTTPClient:
        # Made at the first call, since it belongs to the loop that runs then. It takes as many
        # connections as it is asked for (100 otherwise), and has no time-out but for connecting:
        # Orderly gives up after GATEWAY_TIMEOUT, and takes silence for what it is.
        context = ssl.create_default_context(cafile=stripe.ca_bundle_path)
        return stripe.AIOHTTPClient(
            timeout=aiohttp.ClientTimeout(total=None, connect=CONNECT_SECONDS),
            connector=aiohttp.TCPConnector(limit=0, ssl=context),
        )

    @cached_property
    def _payments(self) -> stripe.PaymentIntentService:
        base = os.environ.get("STRIPE_API_BASE", "").rstrip("/")
        return stripe.StripeClient(
            self._key,
            base_addresses={"api": base} if base else None,
            http_client=self._client,
            max_network_retries=0,  # whether to ask again is Orderly's to decide
        ).v1.payment_intents

    async def close(self) -> None:
        """Close the connections."""
        await self._client.close_async()  # type: ignore[no-untyped-call]

    def payer(self, order: Order) -> dict[str, Any]:  # noqa: ARG002  yours depends on it
        """Say who pays: here the card that Stripe has for tests.

        With ``{"customer": "cus_..."}`` beside the card a look-up reads the payments of that
        customer, rather than all there are.
        """
        return {"payment_method": "pm_card_visa"}

    async def charge(self, charge: Charge) -> Paid | Declined:
        """Take the money for one order. All that is sent follows from the order and its key."""
        _refuse_other_digits(charge)
        wanted: Any = {
            "amount": charge.amount,
            "currency": charge.order.currency.lower(),
            "confirm": True,
            "payment_method_types": ["card"],
            "metadata": _metadata(charge),
            **self.payer(charge.order),
        }
        try:
            async with _understood(is_repeated=charge.is_repeated):
                payment = await self._payments.create_async(wanted, {"idempotency_key": charge.key})
        except stripe.CardError as error:
            return Declined(error.user_message or "declined")
        answer = _answer(payment, charge)
        if isinstance(answer, Uncharged):
            raise InDoubt(f"{payment.id} is {payment.status}")
        return answer

    async def lookup(self, charge: Charge) -> Paid | Declined | Uncharged:
        """Find out what has become of an order, of whichever generation, among the payments."""
        found = [_answer(payment, charge) for payment in await self._payments_of(charge)]
        paid = [each for each in found if isinstance(each, Paid)]
        declined = [each for each in found if isinstance(each, Declined)]
        if paid:
            return paid[0]
        if UNDER_WAY in found:
            return UNDER_WAY
        return declined[0] if declined else NOT_CHARGED

    async def ping(self) -> None:
        """Ask whether it is there."""
        async with _understood(is_repeated=True):
            await self._payments.list_async({"limit": 1})

    async def charges(self) -> AsyncIterator[BookedCharge]:
        """Tell the whole book."""
        async for payment in self._list({}):
            given, answer = _given(payment), _answer(payment)
            if "order_id" in given and isinstance(answer, Paid | Declined):
                yield BookedCharge(
                    payment.id,
                    "~".join(given[name] for name in ("ledger", "order_id", "generation")),
                    given["order_id"],
                    given["account"],
                    payment.amount,
                    payment.currency.upper(),
                    "paid" if isinstance(answer, Paid) else "declined",
                    answer.reason if isinstance(answer, Declined) else None,
                )

    async def _payments_of(self, charge: Charge) -> list[stripe.PaymentIntent]:
        """Find an order's payments, in their list: Stripe's search lags behind it."""
        customer = self.payer(charge.order).get("customer")
        listed = self._list({"customer": customer} if customer else {})
        return [each async for each in listed if _order_of(each) == _order_asked(charge)]

    async def _list(self, wanted: dict[str, str]) -> AsyncIterator[stripe.PaymentIntent]:
        asked: Any = {"limit": PAGE, **wanted}
        async with _understood(is_repeated=True):
            page = await self._payments.list_async(asked)
            async for payment in page.auto_paging_iter():
                yield payment


class StripeByLookup(Stripe):
    """Charges through a server that ignores keys: what is in doubt is looked up.

    Such as localstripe. Its list begins with what is oldest, so that it is read on from where it
    was read to; and once for all who have asked by then, since reading it costs that server much.
    """

    idempotent = False

    def __init__(self) -> None:
        super().__init__()
        self._seen: dict[tuple[str | None, ...], dict[str, stripe.PaymentIntent]] = {}
        self._last: str | None = None
        self._reading = asyncio.Lock()
        self._read_at = 0.0

    async def _payments_of(self, charge: Charge) -> list[stripe.PaymentIntent]:
        asked_at = time.monotonic()
        async with self._reading:
            if self._read_at <= asked_at:
                begun_at = time.monotonic()
                await self._read_on()
                self._read_at = begun_at
        found = self._seen.get(_order_asked(charge), {})
        async with _understood(is_repeated=True):
            for name, each in list(found.items()):
                if _answer(each) is UNDER_WAY:
                    found[name] = await self._payments.retrieve_async(name)
        return list(found.values())

    async def _read_on(self) -> None:
        has_more = True
        while has_more:
            wanted: Any = {"limit": SHORT_PAGE}
            if self._last:
                wanted["starting_after"] = self._last
            # Others wait for this one's answer.
            async with _understood(is_repeated=True), asyncio.timeout(READ_SECONDS):
                page = await self._payments.list_async(wanted)
            for each in page.data:
                self._seen.setdefault(_order_of(each), {})[each.id] = each
                self._last = each.id
            has_more = page.has_more


def _read_key() -> str:
    """Read the secret key."""
    path = os.environ.get("STRIPE_API_KEY_FILE")
    try:
        key = read_password(Path(path)) if path else os.environ.get("STRIPE_API_KEY")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"STRIPE_API_KEY_FILE cannot be read: {error}") from None
    if not key:
        raise ConfigurationError(
            "no key; set STRIPE_API_KEY_FILE to a file that has it, or STRIPE_API_KEY"
        )
    return key


def _metadata(charge: Charge) -> dict[str, str]:
    ledger, order_id, generation = charge.key.split("~")
    order = charge.order
    return {
        "ledger": ledger,
        "order_id": order_id,
        "generation": generation,
        "account": customer_account(order.customer_id, order.currency),
    }


def _given(payment: stripe.PaymentIntent) -> dict[str, str]:
    """The metadata that a payment was given, by whomever."""
    return payment.metadata.to_dict() if payment.metadata else {}


def _order_of(payment: stripe.PaymentIntent) -> tuple[str | None, ...]:
    given = _given(payment)
    return given.get("ledger"), given.get("order_id")


def _order_asked(charge: Charge) -> tuple[str | None, ...]:
    return tuple(charge.key.split("~")[:2])


def _refuse_other_digits(charge: Charge) -> None:
    """See to it that an amount means the same there as here."""
    currency = charge.order.currency
    if currency in OTHER_DIGITS or (currency in TENFOLD and charge.amount % 10):
        raise PermanentFailure(f"Stripe takes no {charge.amount} minor units of {currency}")


def _answer(
    payment: stripe.PaymentIntent, charge: Charge | None = None
) -> Paid | Declined | Uncharged:
    """Tell what a payment has come to; if a charge is given, it must be for that one's money."""
    if charge is not None:
        wanted = charge.amount, charge.order.currency.lower()
        if (payment.amount, payment.currency) != wanted:
            raise InDoubt(f"{payment.id} is for {payment.amount} {payment.currency}")
    match payment.status:
        case "succeeded":
            return Paid(payment.id)
        case "requires_payment_method" if payment.last_payment_error:
            return Declined(payment.last_payment_error.message or "declined")
        case "requires_action":
            return Declined("the card asks for its holder, who is not there")
        case "canceled" | "requires_confirmation" | "requires_payment_method":
            return NOT_CHARGED
        case _:
            return UNDER_WAY


@asynccontextmanager
async def _understood(*, is_repeated: bool) -> AsyncIterator[None]:
    """Raise what the port knows in place of what the library does."""
    try:
        yield
    except stripe.CardError:
        raise
    except stripe.StripeError as error:
        raise _meaning(error, is_repeated=is_repeated) from error


def _meaning(error: stripe.StripeError, *, is_repeated: bool) -> Exception:
    """Translate a failure.

    Args:
        error: What the library raised.
        is_repeated: Whether it may not be about the first request of its key.
    """
    said = error.user_message or type(error).__name__
    headers = {name.lower(): value for name, value in (error.headers or {}).items()}
    meaning: Exception = InDoubt(" ".join(said.split()))
    match error:
        case stripe.RateLimitError():
            meaning = RetryAfter(_seconds(headers.get("retry-after")), said)
        case stripe.AuthenticationError() | stripe.PermissionError():
            meaning = Unavailable(said, for_all=True)
        case stripe.InvalidRequestError(http_status=404, code=None):
            meaning = Unavailable(f"STRIPE_API_BASE is no Stripe: {said}", for_all=True)
        case stripe.InvalidRequestError() if not is_repeated:
            meaning = PermanentFailure(said)
        case stripe.IdempotencyError():
            # Asked for again it is the same error, for as long as the key is kept.
            meaning = KeySpent(said)
        case stripe.APIConnectionError() if isinstance(error.__cause__, NO_CONNECTION):
            meaning = Unavailable(f"no connection: {error.__cause__}")
        case stripe.APIError(http_status=409):
            meaning = KeyInUse(reason=said)
        case stripe.APIError(http_status=503) if "retry-after" in headers:
            meaning = RetryAfter(_seconds(headers["retry-after"]), said)
        case stripe.APIError() if headers.get("idempotent-replayed") == "true":
            meaning = KeySpent(said)
    return meaning


def _seconds(given: str | None) -> float:
    """Read ``Retry-After``, which may be a date, too."""
    return float(given) if given is not None and given.isdecimal() else 1.0
