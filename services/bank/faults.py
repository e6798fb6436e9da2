"""Faults on demand: what they are, and whom they hit. What each does is `services.bank.charging`'s.

Whom they hit follows from a hash of the seed, the key and how often that key was asked for, and
from nothing else: the same run meets the same faults.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from services.bank.problems import of_invalid

MOST_SECONDS = 600
MOST_KEYS = 100_000
"""Of so many keys it is known how often they were asked for; older ones begin anew."""


class Fault(StrEnum):
    """What may happen to one request to charge."""

    FAIL_BEFORE = "fail_before"
    LOST_AFTER = "lost_after"
    CUT = "cut"
    TIMEOUT = "timeout"
    THROTTLE = "throttle"
    REFUSE = "refuse"


def _outage(value: object) -> object:
    # In a choice of values 1 would count as true.
    if not isinstance(value, bool) and value not in ("silent", "refused"):
        raise ValueError('must be true, false, "silent" or "refused"')
    return value


Seconds = Annotated[float, Field(ge=0, le=MOST_SECONDS)]
Share = Annotated[float, Field(ge=0, le=1)]


class Faults(BaseModel):
    """The faults in force; what is not named does not happen.

    Attributes:
        seed: Another one hits other charges.
        latency_before: Seconds from a request to its charge.
        latency_after: Seconds from there to its answer.
        jitter: The share of both by which they are shorter or longer.
        fail_before: Share of requests that are answered with 500, and not charged.
        lost_after: Share that are charged, and the connection is closed in place of an answer.
        cut: Share that are charged, and the connection is closed in mid-answer.
        timeout: Share that are never answered; every other one of them is charged.
        throttle: Share that are answered with 429, and not charged.
        refuse: Share of keys that are refused for good, and never charged.
        outage: Whether nothing is done: true answers 503, "silent" nothing, "refused" hangs up.
        credentials: Whether every token counts as a wrong one.
        lookup_lag: Seconds for which a charge is not seen by those who look it up.
        forget: Whether keys are not honoured: every request is a charge of its own.
    """

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")

    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    latency_before: Seconds = 0.0
    latency_after: Seconds = 0.0
    jitter: Share = 0.0
    fail_before: Share = 0.0
    lost_after: Share = 0.0
    cut: Share = 0.0
    timeout: Share = 0.0
    throttle: Share = 0.0
    refuse: Share = 0.0
    outage: Annotated[bool | Literal["silent", "refused"], BeforeValidator(_outage)] = False
    credentials: bool = False
    lookup_lag: Seconds = 0.0
    forget: bool = False

    @model_validator(mode="after")
    def _fit(self) -> Faults:
        shares = {name: getattr(self, name) for name in Fault}
        total = sum(shares.values())
        if total > 1 + 1e-9:
            raise ValueError(
                f"the shares of {', '.join(name for name, share in shares.items() if share)} must "
                f"add up to at most 1, not {total:g}"
            )
        return self


def read_faults(body: bytes) -> Faults:
    """Read what is wanted.

    Raises:
        Problem: Names what is wrong with it.
    """
    try:
        return Faults.model_validate_json(body)
    except ValidationError as error:
        raise of_invalid(error.errors()) from None


class Draws:
    """Draws for each request which fault it meets.

    Args:
        faults: The faults in force.
    """

    def __init__(self, faults: Faults) -> None:
        self.faults = faults
        self._shares = [
            (fault, share)
            for fault in Fault
            if fault is not Fault.REFUSE and (share := getattr(faults, fault))
        ]
        self._asked: OrderedDict[str, int] = OrderedDict()

    def ask(self, key: str) -> int:
        """Count a request of a key; return how many there were."""
        if not self._shares and not self.faults.jitter:
            return 1
        count = self._asked.pop(key, 0) + 1
        self._asked[key] = count
        if len(self._asked) > MOST_KEYS:
            self._asked.popitem(last=False)
        return count

    def fault(self, key: str, count: int) -> Fault | None:
        """Draw the fault that a request meets, if any; it meets one at most."""
        faults = self.faults
        if faults.refuse and self._draw("refuse", key, 0) < faults.refuse:
            return Fault.REFUSE  # for good, so however often it is asked for
        if not self._shares:
            return None
        # Among those that are not refused, of whom there are so many:
        drawn = self._draw("fault", key, count) * (1 - faults.refuse)
        for fault, share in self._shares:
            if drawn < share:
                return fault
            drawn -= share
        return None

    def is_charged(self, key: str, count: int) -> bool:
        """Draw whether a request that is never answered is charged."""
        return self._draw("charged", key, count) < 1 / 2

    def seconds(self, latency: float, key: str, count: int, when: str) -> float:
        """Draw how long a request takes, before its charge or after it."""
        if not latency or not self.faults.jitter:
            return latency
        return latency * (1 + self.faults.jitter * (2 * self._draw(when, key, count) - 1))

    def _draw(self, what: str, key: str, count: int) -> float:
        """Draw a number from 0 to 1."""
        text = f"{self.faults.seed}/{count}/{what}/{key}"
        return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest()) / 2**64
