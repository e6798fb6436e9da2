"""A proof in a thread of its own, so that the main thread hears signals and shows how far it is.

A statement of the database may take seconds in which no Python runs. The main thread never waits
for one: it has the database break it off when a signal says so.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

    import sqlalchemy as sa

    from shared.ledger.database.database import Database
    from shared.ledger.verification.proof import Step

T = TypeVar("T")

TICK_SECONDS = 0.1
LEAVE_SECONDS = 2.0
"""How long to wait for the end of a proof that was told to end, before it is left behind."""


class Stopped(Exception):
    """A signal ended a proof before it was done."""


def prove(
    database: Database,
    work: Callable[[sa.Connection, Step], T],
    *,
    is_over: Callable[[], bool],
    show: Callable[[float], None],
) -> T:
    """Do what proves a ledger, in one snapshot of it; call it from the main thread.

    Args:
        database: The ledger's.
        work: Proves; tells now and then which share is done.
        is_over: Whether to end before it is done.
        show: Shows the share, 0 to 1.

    Raises:
        Stopped: It was over before it was done.
        LedgerUnavailable: The ledger cannot be read.
    """
    proving = _Proving(database, work, is_over)
    proving.start()
    while not proving.is_done(TICK_SECONDS):
        if is_over():
            proving.leave()
            raise Stopped
        show(proving.share)
    return proving.result()


class _Proving(Generic[T]):
    """The thread, and what comes of it."""

    def __init__(
        self,
        database: Database,
        work: Callable[[sa.Connection, Step], T],
        is_over: Callable[[], bool],
    ) -> None:
        self.share = 0.0
        self._database = database
        self._work = work
        self._is_over = is_over
        self._driver: Any = None
        self._found: list[T] = []
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="proof", daemon=True)
        self.start = self._thread.start

    def is_done(self, timeout: float) -> bool:
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def result(self) -> T:
        if self._error is not None:
            raise self._error
        return self._found[0]

    def leave(self) -> None:
        """Break off what the database does, until the thread has noticed."""
        deadline = time.monotonic() + LEAVE_SECONDS
        while not self.is_done(TICK_SECONDS) and time.monotonic() < deadline:
            if self._driver is not None:
                self._database.backend.interrupt(self._driver)

    def _run(self) -> None:
        try:
            self._found.append(self._database.ask(self._attempt))
        except BaseException as error:  # noqa: BLE001  the main thread raises it
            self._error = error

    def _attempt(self, connection: sa.Connection) -> T:
        self._driver = connection.connection.dbapi_connection
        try:
            self._step(0.0)
            return self._work(connection, self._step)
        finally:
            self._driver = None

    def _step(self, share: float) -> None:
        if self._is_over():
            raise Stopped
        self.share = share
