"""What a backend's answer over HTTP means: by its status code, and by what it says of the order.

Whatever is not in the table, or says another amount, currency or reference than the order, leaves
the order in doubt. Only an answer that says so means that nothing was charged.
"""

from __future__ import annotations

import json
import math
import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

from services.payment.gateway import (
    NOT_CHARGED,
    BookedCharge,
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
from shared.ledger.accounts import customer_account
from shared.texts import said, shown

if TYPE_CHECKING:
    from services.payment.gateway import Charge
    from services.payment.http_client import Answer

WAIT_SECONDS = 1.0
"""How long to wait where the backend asks for it and does not say how long."""

_OK, _PAYMENT_REQUIRED, _CONFLICT = 200, 402, 409
_TOO_MANY, _SERVER_ERROR, _CLOSED = 429, 500, 503
_REFUSED = {400, 422}
MISSING = {404, 405}
"""There is no such path."""

_MISCONFIGURED = {401, 403, *MISSING, *range(300, 400)}


def understand_charge(answer: Answer, charge: Charge) -> Paid | Declined:
    """Say what has become of a charge that was asked for.

    Raises:
        Exception: One of the port's, as the status code has it.
    """
    status = answer.status
    if status in {_OK, _PAYMENT_REQUIRED}:
        return _understand_document(_parse(answer), charge, may_be_paid=status == _OK)
    why, seconds = _describe(answer), _retry_after(answer)
    if status in _REFUSED:
        raise InDoubt(why) if charge.is_repeated else PermanentFailure(why)
    if status in _MISCONFIGURED:
        raise Unavailable(why, for_all=True)
    if status == _CONFLICT:
        raise KeyInUse(WAIT_SECONDS if seconds is None else seconds, why)
    if status >= _SERVER_ERROR and answer.headers.get("Idempotent-Replayed") == "true":
        raise KeySpent(why)
    if status == _TOO_MANY:
        raise RetryAfter(WAIT_SECONDS if seconds is None else seconds, why)
    if status == _CLOSED and seconds is not None:
        raise RetryAfter(seconds, why)
    raise InDoubt(why)


def understand_lookup(answer: Answer, charge: Charge) -> Paid | Declined | Uncharged:
    """Say what is known of a charge; that there is none says the empty list, and nothing else.

    Raises:
        Unavailable: We may not ask.
        RetryAfter: Not now.
        InDoubt: The answer is none.
    """
    found = _understand_list(answer)
    if not found:
        return NOT_CHARGED
    # A backend that passes over the parameter shows others, too, and may have left ours out.
    ours = [each for each in found if isinstance(each, dict) and each.get("key") == charge.key]
    if not ours:
        raise InDoubt("the look-up shows other charges than the one that was asked for")
    verdicts = [_understand_document(each, charge, may_be_paid=True) for each in ours]
    return next((each for each in verdicts if isinstance(each, Paid)), verdicts[0])


def understand_page(answer: Answer) -> list[BookedCharge]:
    """Read a page of the backend's book.

    Raises:
        Unavailable: We may not ask.
        RetryAfter: Not now.
        InDoubt: It cannot be read.
    """
    return [_booked(each) for each in _understand_list(answer)]


def understand_ping(answer: Answer) -> None:
    """Find out whether a backend is there.

    Raises:
        Unavailable: It is not, or will have none of us.
    """
    if answer.status != _OK:
        raise Unavailable(_describe(answer))


def _understand_list(answer: Answer) -> list[Any]:
    if answer.status in {401, 403}:
        raise Unavailable(_describe(answer), for_all=True)
    seconds = _retry_after(answer)
    if answer.status in {_TOO_MANY, _CLOSED} and seconds is not None:
        raise RetryAfter(seconds, _describe(answer))
    if answer.status != _OK:
        raise InDoubt(_describe(answer))
    found = _parse(answer)
    if not isinstance(found, list):
        raise InDoubt(f"the look-up answers {shown(found)}, which is no list")
    return found


def _understand_document(found: object, charge: Charge, *, may_be_paid: bool) -> Paid | Declined:
    if not isinstance(found, dict):
        raise InDoubt(f"the answer is {shown(found)}, and no object")
    order = charge.order
    required = {"amount": charge.amount, "currency": order.currency, "reference": order.order_id}
    optional = {
        "key": charge.key,
        "account": customer_account(order.customer_id, order.currency),
    }
    for name, value in (required | optional).items():
        if name in optional and name not in found:
            continue
        there = found.get(name)
        if there != value or isinstance(there, bool | float):
            raise InDoubt(f"the answer's {name} is {shown(there)}, and the order's {value}")
    status, reason = found.get("status"), found.get("reason")
    if status == "paid" and may_be_paid:
        return Paid(_name(found.get("id")))
    if status == "declined":
        return Declined(reason if isinstance(reason, str) and reason else "declined")
    raise InDoubt(f"the answer's status is {shown(status)}")


def _booked(found: object) -> BookedCharge:
    try:
        if not isinstance(found, dict) or isinstance(found["amount"], bool):
            raise TypeError  # noqa: TRY301  one handler for all that is wrong with it
        if not isinstance(found["amount"], int):
            raise TypeError  # noqa: TRY301
        names = ("key", "reference", "account", "currency", "status")
        key, reference, account, currency, status = (str(found[name]) for name in names)
        charge_id, reason = _name(found["id"]), found.get("reason")
    except (KeyError, TypeError):
        raise InDoubt(f"the book has {shown(found)}, which is no charge") from None
    if charge_id is None or status not in {"paid", "declined"}:
        raise InDoubt(f"the book has {shown(found)}, which is no charge")
    amount = found["amount"]
    return BookedCharge(
        *(charge_id, key, reference, account, amount, currency, status),
        reason=None if reason is None else str(reason),
    )


def _name(found: object) -> str | None:
    """What a backend calls a charge: text, or a number."""
    return str(found) if isinstance(found, str | int) and not isinstance(found, bool) else None


def _parse(answer: Answer) -> object:
    try:
        return json.loads(answer.body)
    except (ValueError, RecursionError):
        raise InDoubt(f"the answer (HTTP {answer.status}) is no JSON") from None


def _describe(answer: Answer) -> str:
    """Say what a backend has against us: its problem document has it in words."""
    try:
        found = json.loads(answer.body)
        detail = found.get("detail") or found.get("title") or found.get("error")
    except (ValueError, RecursionError, AttributeError):
        detail = None
    return f"HTTP {answer.status}: {said(detail)}" if detail else f"HTTP {answer.status}"


def _retry_after(answer: Answer) -> float | None:
    """Read for how many seconds we are asked to wait: a number of them, or a date."""
    text = answer.headers.get("Retry-After", "").strip()
    if re.fullmatch(r"[0-9]{1,9}", text):
        return float(text)
    try:
        until = parsedate_to_datetime(text)
        if until.tzinfo is None:
            until = until.replace(tzinfo=UTC)
        seconds = (until - datetime.now(UTC)).total_seconds()
    except (ValueError, TypeError, OverflowError):
        return None
    return max(0.0, seconds) if math.isfinite(seconds) else None
