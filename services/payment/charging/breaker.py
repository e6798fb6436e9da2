"""The breaker: while a backend is away nobody calls it, but for a probe a second.

It moves by what says that the backend itself is away: nothing could be sent, or no answer came in
time. Ten of those in a row open it, and a refusal of all of us at once; any other answer closes it.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from services.payment.verdicts import Kind

if TYPE_CHECKING:
    from services.payment.verdicts import Verdict

IN_A_ROW = 10
PROBE_SECONDS = 1.0


class Breaker:
    """Whether a worker may call its gateway.

    Attributes:
        reason: Why it is open; None while it is closed.
    """

    def __init__(self) -> None:
        self.reason: str | None = None
        self._failures = 0
        self._probe_at = 0.0
        self._pause_until = 0.0

    @property
    def is_open(self) -> bool:
        """Whether the backend is away."""
        return self.reason is not None

    @property
    def is_paused(self) -> bool:
        """Whether the backend has asked for a while without calls."""
        return time.monotonic() < self._pause_until

    def may_call(self) -> bool:
        """Whether anybody may be charged now, as far as the backend is concerned."""
        return self.reason is None and not self.is_paused

    def may_probe(self) -> bool:
        """Whether it is time to ask a backend that is away; each time that it is asked, once."""
        now = time.monotonic()
        if self.reason is None or self.is_paused or now < self._probe_at:
            return False
        self._probe_at = now + PROBE_SECONDS
        return True

    def note(self, verdict: Verdict) -> bool:
        """Hear how a call ended; return whether that has opened or closed it."""
        was_open = self.is_open
        if verdict.kind is Kind.UNAVAILABLE or verdict.is_late:
            self._failures += 1
            if verdict.for_all or self._failures >= IN_A_ROW:
                self.reason = verdict.reason or "no answer"
                if not was_open:
                    self._probe_at = time.monotonic() + PROBE_SECONDS
        else:
            self._failures = 0
            self.reason = None
            if verdict.kind is Kind.BUSY:
                until = time.monotonic() + verdict.seconds
                self._pause_until = max(self._pause_until, until)
        return was_open is not self.is_open
