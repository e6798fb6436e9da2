"""The one thread that writes to the book. Group commit: what waits meanwhile is the next group.

A lone charge is posted at once; nobody waits for a timer.
"""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

from services.bank.book import is_perhaps_written, unavailable
from services.bank.posting import Posting
from services.bank.problems import Problem
from shared.logs import Logger
from shared.resilience import Mishaps

if TYPE_CHECKING:
    from pathlib import Path

    from services.bank.posting import Asked, Posted

MOST_WAITING = 4096
"""Charges that may wait for their turn; each is a request that holds its connection open."""

MOST_AT_ONCE = 256
"""Charges in a transaction."""

CLOSE_SECONDS = 2.0

log = Logger("bank")


class _Waiting(NamedTuple):
    asked: Asked
    posted: asyncio.Future[Posted]


class Writer:
    """Posts charges for coroutines of one loop.

    Args:
        path: Where the book is.
        opening_balance: See `Posting`.
    """

    def __init__(self, path: Path, opening_balance: int) -> None:
        self._path = path
        self._posting = Posting(path, opening_balance)
        self._changed = threading.Condition()
        self._waiting: deque[_Waiting] = deque()
        self._is_closed = False
        self._trouble = ""
        self._mishaps = Mishaps(log, "posting failed")
        self._thread = threading.Thread(target=self._run, name="bank-writer", daemon=True)
        self._thread.start()

    async def post(self, asked: Asked) -> Posted:
        """Have a charge posted; it is on disk on return.

        Raises:
            Problem: It is not, or ("failed") nobody knows.
        """
        waiting = _Waiting(asked, asyncio.get_running_loop().create_future())
        with self._changed:
            if len(self._waiting) >= MOST_WAITING:
                raise Problem("busy", f"{MOST_WAITING:,} charges wait already")
            self._waiting.append(waiting)
            self._changed.notify()
        return await waiting.posted

    def close(self) -> None:
        """End when all is posted that waits; call it when nothing more is submitted."""
        with self._changed:
            self._is_closed = True
            self._changed.notify()
        self._thread.join(CLOSE_SECONDS)
        if not self._thread.is_alive():
            self._posting.close()

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._is_closed)
                count = min(len(self._waiting), MOST_AT_ONCE)
                group = [self._waiting.popleft() for _ in range(count)]
            if not group:
                return
            found = self._post([each.asked for each in group])
            with suppress(RuntimeError):  # the loop has ended, and with it all who waited
                group[0].posted.get_loop().call_soon_threadsafe(_answer, group, found)

    def _post(self, several: list[Asked]) -> list[Posted | Problem]:
        try:
            found = self._posting.post(several)
        except sqlite3.Error as error:
            why = str(unavailable(self._path, error))
            if why != self._trouble:
                log.warning("nothing can be posted", why=why)
            self._trouble = why
            kind = "failed" if is_perhaps_written(error) else "unavailable"
            return [Problem(kind, why)] * len(several)
        except Exception as error:  # noqa: BLE001  a bug: who asked is told, and others go on
            self._mishaps.meet(error)
            return [Problem("failed")] * len(several)
        self._trouble = ""
        return found


def _answer(group: list[_Waiting], found: list[Posted | Problem]) -> None:
    for (_, future), each in zip(group, found, strict=True):
        if future.done():
            continue  # its request was cancelled
        if isinstance(each, Problem):
            future.set_exception(each)
        else:
            future.set_result(each)
