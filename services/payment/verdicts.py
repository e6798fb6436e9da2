"""What an outside gateway's answer means, or whatever it raises.

A gateway of one's own is somebody else's code: nothing that it returns or raises is worse than a
doubt about that one order.
"""

from __future__ import annotations

import inspect
import math
from contextlib import suppress
from enum import Enum, auto
from typing import NamedTuple

from services.payment.gateway import (
    NOT_CHARGED,
    UNDER_WAY,
    Declined,
    InDoubt,
    KeyInUse,
    KeySpent,
    Paid,
    PermanentFailure,
    RetryAfter,
    TransientFailure,
    Unavailable,
)
from shared.ledger.resolutions import REFERENCE_LENGTH
from shared.texts import legible, of_error, said, shown

MOST_SECONDS = 300.0
"""The longest that a gateway may have anybody wait."""


class Kind(Enum):
    """What a call came to."""

    PAID = auto()
    DECLINED = auto()
    FAILED = auto()
    REFUSED = auto()
    UNAVAILABLE = auto()
    BUSY = auto()
    IN_USE = auto()
    SPENT = auto()
    DOUBT = auto()
    FREE = auto()
    UNDER_WAY = auto()


class Verdict(NamedTuple):
    """What a call came to, and what there is to say of it.

    Attributes:
        reason: Legible.
        reference: What the backend calls the charge.
        seconds: How long to wait.
        for_all: Whether nobody need be asked any more.
        is_late: Whether no answer came in time.
    """

    kind: Kind
    reason: str | None = None
    reference: str | None = None
    seconds: float = 0.0
    for_all: bool = False
    is_late: bool = False


def of_answer(answer: object) -> Verdict:
    """Understand what a gateway has returned."""
    # By the type, since what an object says of its class is somebody else's code, too.
    kind = type(answer)
    if issubclass(kind, Paid):
        return Verdict(Kind.PAID, reference=_reference(answer))
    if issubclass(kind, Declined):
        return Verdict(Kind.DECLINED, _reason(answer))
    if answer is NOT_CHARGED:
        return Verdict(Kind.FREE, "not charged")
    if answer is UNDER_WAY:
        return Verdict(Kind.UNDER_WAY, "under way")
    return Verdict(Kind.DOUBT, legible(f"the gateway answered {_describe(answer)}"))


def of_charge(answer: object) -> Verdict:
    """Understand what ``charge`` has returned: what only a look-up may say is no answer there."""
    verdict = of_answer(answer)
    if verdict.kind in {Kind.FREE, Kind.UNDER_WAY}:
        return Verdict(Kind.DOUBT, legible(f"the gateway answered {_describe(answer)}"))
    return verdict


def of_failure(error: BaseException) -> Verdict:
    """Understand what a gateway has raised."""
    for failure, kind, words in _FAILURES:
        if issubclass(type(error), failure):
            verdict = Verdict(kind, said(error) or words)
            if kind is Kind.UNAVAILABLE:
                return verdict._replace(for_all=_attribute(error, "for_all") is True)
            if kind in {Kind.BUSY, Kind.IN_USE}:
                return verdict._replace(seconds=_seconds(error))
            return verdict
    return Verdict(Kind.DOUBT, legible(of_error(error)))


_FAILURES = (
    (PermanentFailure, Kind.REFUSED, "refused for good"),
    (TransientFailure, Kind.FAILED, "no answer"),
    (Unavailable, Kind.UNAVAILABLE, "unavailable"),
    (RetryAfter, Kind.BUSY, "busy"),
    (KeyInUse, Kind.IN_USE, "its key is in use"),
    (KeySpent, Kind.SPENT, "its key is spent"),
    (InDoubt, Kind.DOUBT, "no answer"),
)


def _attribute(found: object, name: str) -> object:
    """Read an attribute, which need be neither there nor harmless."""
    try:
        return getattr(found, name, None)
    except KeyboardInterrupt:
        raise
    except BaseException:  # noqa: BLE001  a property of somebody else's
        return None


def _reference(answer: object) -> str | None:
    found = _attribute(answer, "reference")
    return None if found is None else legible(said(found), REFERENCE_LENGTH) or None


def _seconds(error: BaseException) -> float:
    found = _attribute(error, "seconds")
    if not isinstance(found, int | float) or not math.isfinite(found):
        return 1.0
    return min(max(0.0, float(found)), MOST_SECONDS)


def _reason(answer: object) -> str:
    """Read why an order is declined, which need be neither there nor a text."""
    try:
        reason = getattr(answer, "reason", None)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # noqa: BLE001  a property of somebody else's
        return legible(f"no reason: {of_error(error)}")
    return "no reason given" if reason is None else said(reason) or "no reason given"


def _describe(answer: object) -> str:
    """Say what an answer is that is none."""
    if inspect.iscoroutine(answer):
        with suppress(Exception):
            answer.close()  # else Python complains that nobody awaits it
        return "a coroutine; its charge must not be async"
    if isinstance(answer, type) and issubclass(answer, Paid | Declined):
        return f"the class {answer.__name__}; return PAID or Declined(reason)"
    return shown(answer)
