"""Asking the ledger from a thread that must not hang: an answer within so many seconds, or none.

A server that is frozen, or cut off behind a connection that looks alive, says nothing at all. The
thread that waits for it cannot be woken; the one that supervises and hears signals must not be it.
"""

from __future__ import annotations

import queue
import threading
import time
from concurrent.futures import Future
from concurrent.futures import wait as wait_for
from typing import TYPE_CHECKING, Any, TypeVar

from shared.errors import LedgerUnavailable
from shared.ledger.database.backend import BUSY_SECONDS

if TYPE_CHECKING:
    from collections.abc import Callable

    import sqlalchemy as sa

    from shared.ledger.ledger import Ledger

T = TypeVar("T")

LONGEST = BUSY_SECONDS + 5.0
"""Seconds until a server that says nothing counts as one that cannot be reached."""

ENDING = 3.0
"""Seconds that a service which is about to end waits for an answer."""

_LOOK_SECONDS = 0.1

Question = tuple["Future[Any]", "Callable[[sa.Connection], Any]"]


class TimedQueries:
    """Has questions asked by a thread of its own, one after the other.

    Args:
        ledger: Whom to ask.
        is_urgent: Set when nobody wants to wait for long any more.
    """

    def __init__(self, ledger: Ledger, is_urgent: threading.Event) -> None:
        self._ledger = ledger
        self._is_urgent = is_urgent
        self._questions: queue.SimpleQueue[Question] = queue.SimpleQueue()
        threading.Thread(target=self._run, name="asking", daemon=True).start()

    def ask(self, question: Callable[[sa.Connection], T], within: float = LONGEST) -> T:
        """Read something short.

        Raises:
            LedgerUnavailable: There was no answer in time.
        """
        answer: Future[T] = Future()
        self._questions.put((answer, question))
        until, is_cut = time.monotonic() + within, False
        while not answer.done():
            if self._is_urgent.is_set() and not is_cut:
                is_cut, until = True, min(until, time.monotonic() + ENDING)
            left = until - time.monotonic()
            if left <= 0:
                raise LedgerUnavailable(
                    f"ledger {self._ledger.name} does not answer; what was accepted is kept"
                )
            wait_for([answer], min(left, _LOOK_SECONDS))
        return answer.result()

    def _run(self) -> None:
        while True:
            answer, question = self._questions.get()
            try:
                found = self._ledger.database.ask(question)
            except BaseException as error:  # noqa: BLE001  it is for whoever asked
                answer.set_exception(error)
            else:
                answer.set_result(found)
