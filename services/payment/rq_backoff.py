"""How a worker of redis mode waits out what keeps it from its work, and shows that it is well."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from shared.logs import Logger
from shared.queue.redis_errors import diagnose
from shared.resilience import Mishaps

if TYPE_CHECKING:
    import threading

    from services.payment.heartbeat import Vitals
    from shared.queue.redis_connection import Line

_REST_LEAST = 0.1
_REST_MOST = 2.0

log = Logger("payment")


class Rest:
    """Waits while Redis is away: a little longer each time, until it answers.

    And after what nobody thought of.

    Attributes:
        line: To Redis; it is mended after each failure.
        mishaps: Those of jobs, and of RQ's own code.
    """

    def __init__(self, vitals: Vitals, stop: threading.Event, line: Line) -> None:
        self._vitals = vitals
        self._stop = stop
        self.line = line
        self._seconds = 0.0
        self.mishaps = Mishaps(log, "round failed")

    def after_mishap(self) -> None:
        """Rest if the last step went wrong, and show that this process is well meanwhile."""
        if self.mishaps.rest:
            self.line.mend()  # an answer that nobody understood may not have been read to its end
            self._pass(self.mishaps.rest)

    def after(self, error: Exception) -> None:
        """Rest after an error, and show that this process is well meanwhile."""
        self.line.mend(error)
        if not self._seconds:
            log.warning("Redis is away", error=diagnose(error).text)
        self._seconds = min(_REST_MOST, self._seconds * 2 or _REST_LEAST)
        self._pass(self._seconds)

    def _pass(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while time.monotonic() < until and not self._stop.wait(_REST_LEAST):
            self._vitals.waiting()

    def is_over(self) -> None:
        """Redis has answered."""
        if self._seconds:
            log.info("Redis is back")
        self._seconds = 0.0
