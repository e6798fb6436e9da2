"""How a worker of redis mode waits out what keeps it from its work, and shows that it is well."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from shared.logs import Logger
from shared.queue.redis_errors import diagnose
from shared.resilience import Backoff, Mishaps

if TYPE_CHECKING:
    import threading

    from services.payment.heartbeat import Heartbeat
    from shared.queue.redis_connection import RedisConnection

_LOOK_SECONDS = 0.1

log = Logger("payment")


class RedisOutage:
    """Waits while Redis is away: a little longer each time, until it answers.

    And after what nobody thought of.

    Attributes:
        connection: To Redis; it is mended after each failure.
        mishaps: Those of jobs, and of RQ's own code.
    """

    def __init__(
        self, heartbeat: Heartbeat, stop: threading.Event, connection: RedisConnection
    ) -> None:
        self._heartbeat = heartbeat
        self._stop = stop
        self.connection = connection
        self._backoff = Backoff(least=_LOOK_SECONDS)
        self.mishaps = Mishaps(log, "round failed")

    def after_mishap(self) -> None:
        """Wait if the last step went wrong, and show that this process is well meanwhile."""
        if seconds := self.mishaps.backoff.seconds:
            # An answer that nobody understood may not have been read to its end.
            self.connection.mend()
            self._pass(seconds)

    def after(self, error: Exception) -> None:
        """Wait after an error, and show that this process is well meanwhile."""
        self.connection.mend(error)
        if not self._backoff.seconds:
            log.warning("Redis is away", error=diagnose(error).text)
        self._pass(self._backoff.grow())

    def _pass(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while time.monotonic() < until and not self._stop.wait(_LOOK_SECONDS):
            self._heartbeat.waiting()

    def is_over(self) -> None:
        """Redis has answered."""
        if self._backoff.seconds:
            log.info("Redis is back")
        self._backoff.reset()
