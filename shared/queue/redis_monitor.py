"""A thread that looks after Redis, so that trouble shows while nothing is carried, too."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from shared.queue.redis_check import check
from shared.queue.redis_errors import Diagnosis, diagnose
from shared.queue.redis_types import clear

if TYPE_CHECKING:
    from collections.abc import Callable

    from shared.queue.redis_connection import RedisConnection

WATCH_SECONDS = 1.0
"""How often it looks."""


def look_after(server: RedisConnection, ledger_id: str) -> None:
    """Clear away what is in the way, and try all that is needed.

    Raises:
        Exception: Whatever a server or a proxy makes of it; see ``diagnose``.
    """
    connection = server.open()
    clear(connection, ledger_id)
    check(connection, ledger_id)


class RedisMonitor:
    """Checks again and again, and tells what it finds.

    Args:
        connection: To Redis; nobody else's.
        ledger_id: Whose keys are tried.
        tell: Takes what is wrong, or None.
    """

    def __init__(
        self, connection: RedisConnection, ledger_id: str, tell: Callable[[Diagnosis | None], None]
    ) -> None:
        self._connection = connection
        self._ledger_id = ledger_id
        self._tell = tell
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="redis-watch", daemon=True)

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    def stop(self) -> None:
        """End, and wait for no answer."""
        self._is_over.set()

    def _run(self) -> None:
        while not self._is_over.wait(WATCH_SECONDS):
            try:
                look_after(self._connection, self._ledger_id)
            except Exception as error:  # noqa: BLE001  whatever a server or a proxy makes of it
                self._connection.mend(error)
                self._tell(diagnose(error))
            else:
                self._tell(None)
        self._connection.close()
