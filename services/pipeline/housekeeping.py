"""The thread for a ledger's housekeeping: tasks at an interval, and others when asked.

Whatever a task meets, the next one is tried all the same: a service whose housekeeping has ended
looks dead to those who ask for its health, and sends no nudge any more.
"""

from __future__ import annotations

import queue
import threading
import time
from typing import TYPE_CHECKING

from shared.errors import LedgerUnavailable
from shared.ledger.database.backend import BUSY_SECONDS
from shared.logs import Logger
from shared.resilience import Mishaps

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

SILENCE = 3.0
"""Seconds without an answer of the ledger after which something is wrong with it."""

log = Logger("housekeeping")


class Housekeeping:
    """Does the tasks in a thread of its own.

    Args:
        tasks: What to do at the interval; one that fails keeps no other from being done.
        interval: Seconds between.
    """

    def __init__(self, tasks: Sequence[Callable[[], object]], interval: float) -> None:
        self._tasks = tasks
        self._interval = interval
        self._asked: queue.SimpleQueue[Callable[[], object] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="housekeeping", daemon=True)
        self._mishaps = Mishaps(log, "housekeeping failed")
        self._mishap: str | None = None
        self._failing_since: float | None = None
        self._error: LedgerUnavailable | None = None
        self._doubt: LedgerUnavailable | None = None
        self._kept_at = time.monotonic()

    @property
    def trouble(self) -> str | None:
        """What keeps it from its work, if anything does."""
        if (doubt := self._doubt) is not None:
            return str(doubt)
        if self._failing_since is not None:
            return str(self._error)
        silence = time.monotonic() - self._kept_at
        if silence <= SILENCE:
            return None
        if self._mishap is not None:
            return f"the ledger's housekeeping has failed for {silence:.0f} s: {self._mishap}"
        return f"the ledger has not answered for {silence:.0f} s"

    def check(self) -> None:
        """Raise the ledger's error, if it has persisted for as long as one should try."""
        since, error = self._failing_since, self._error
        if since is not None and error is not None and time.monotonic() - since > BUSY_SECONDS:
            raise error

    def start(self) -> None:
        """Begin to keep."""
        self._thread.start()

    def doubt(self, error: LedgerUnavailable | None) -> None:
        """Hear from others who write whether they can: it is trouble until they, or we, could."""
        self._doubt = error

    def settle_doubt(self, write: Callable[[], object]) -> None:
        """If there is a doubt, try to write; a task, since most of the others only read.

        Raises:
            LedgerUnavailable: It is justified.
        """
        doubt = self._doubt
        if doubt is None:
            return
        write()
        if self._doubt is doubt:  # else it is of what came after
            self._doubt = None

    def ask(self, task: Callable[[], object]) -> None:
        """Have something done soon."""
        self._asked.put(task)

    def stop(self, last: Callable[[], object]) -> None:
        """Do one more thing and end; do not wait for long, since it may wait for a lock."""
        if self._thread.is_alive():
            self._asked.put(last)
            self._asked.put(None)
            self._thread.join(1.0)

    def _run(self) -> None:
        while True:
            try:
                task = self._asked.get(timeout=self._interval)
            except queue.Empty:
                self._do(self._tasks)
            else:
                if task is None:
                    return
                self._do([task])

    def _do(self, tasks: Sequence[Callable[[], object]]) -> None:
        mishap = None
        try:
            for task in tasks:
                with self._mishaps.survived(LedgerUnavailable):
                    task()
                mishap = self._mishaps.latest or mishap
        except LedgerUnavailable as error:
            self._failing_since = self._failing_since or time.monotonic()
            self._error = error
            return
        self._failing_since = None
        self._mishap = mishap
        if mishap is None:
            self._kept_at = time.monotonic()
