"""Group commit for HTTP: what waits while a block is written, or while others write, is the next.

A lone request is written at once; nobody waits for a timer. One thread writes. It asks who is
waiting only when it has its turn to write, so whoever has given up by then is not in the block:
what was refused was not accepted.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

from shared.errors import LedgerUnavailable, LedgerUncertain, OrderlyError
from shared.ledger.database.backend import BUSY_SECONDS
from shared.logs import Logger
from shared.resilience import Mishaps

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from services.producer.intake import Intake
    from shared.ledger.journal import Candidate, Verdict

MOST_WAITING = 4096
"""Orders that may wait for intake; each is a request that holds its connection open."""

PATIENCE = 5.0
"""Seconds that a request waits for its block to begin, before it is refused."""

LONGEST = PATIENCE + BUSY_SECONDS + PATIENCE
"""Seconds after which it is told that nobody knows: its block began, and hangs at a commit."""

log = Logger("intake")


class Overrun(OrderlyError):
    """More requests wait than can be taken in soon."""


class _Group(NamedTuple):
    """What one request wants to have accepted, and since when (monotonic seconds)."""

    candidates: Sequence[Candidate]
    verdicts: asyncio.Future[list[Verdict]]
    since: float


class GroupCommit:
    """Accepts orders for coroutines, in blocks.

    Args:
        intake: What writes them.
        on_block: Told the orders of every block that was written, and the seconds that took.

    Attributes:
        most: Most orders in a block, and in what is submitted at once.
        is_closing: Set when no more should be submitted.
    """

    def __init__(self, intake: Intake, on_block: Callable[[int, float], None]) -> None:
        self._intake = intake
        self._on_block = on_block
        self._changed = threading.Condition()
        self._groups: deque[_Group] = deque()
        self._in_hand: list[_Group] = []
        self._waiting = 0
        self._is_closed = False
        self._mishaps = Mishaps(log, "block failed")
        self._thread = threading.Thread(target=self._run, name="group-commit", daemon=True)
        self.most = intake.block_orders
        self.is_closing = False

    @property
    def waiting(self) -> int:
        """Orders that wait for a block to begin."""
        return self._waiting

    def open(self) -> None:
        """Begin to accept."""
        self._thread.start()

    def close(self) -> None:
        """End, when what was submitted has been written; wait for that, but not for ever."""
        with self._changed:
            self._is_closed = True
            self._changed.notify()
        self._thread.join(PATIENCE)

    async def submit(self, candidates: Sequence[Candidate]) -> list[Verdict]:
        """Have orders accepted, as far as there is room; what was created is durable on return.

        Raises:
            Overrun: Too many wait already; nothing was accepted.
            LedgerUncertain: The orders may be accepted, or not.
            LedgerUnavailable: Nothing was accepted.
        """
        loop = asyncio.get_running_loop()
        group = _Group(candidates, loop.create_future(), time.monotonic())
        with self._changed:
            if self._waiting > MOST_WAITING:
                raise Overrun("too many requests wait for the ledger")
            self._groups.append(group)
            self._waiting += len(candidates)
            self._changed.notify()
        return await group.verdicts

    def expire(self) -> None:
        """Refuse who has waited too long; call it now and then, from the loop's thread."""
        now = time.monotonic()
        expired = []
        with self._changed:
            while self._groups and self._groups[0].since < now - PATIENCE:
                expired.append(self._groups.popleft())
                self._waiting -= len(expired[-1].candidates)
            hanging = [group for group in self._in_hand if group.since < now - LONGEST]
        error = LedgerUnavailable(f"the ledger has been busy for {PATIENCE:g} s")
        _answer(expired, [], error)
        _answer(hanging, [], LedgerUncertain("the ledger does not answer"))

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._groups or self._is_closed)
                if not self._groups:
                    return
            with self._mishaps.survived():
                self._write()
            self._mishaps.wait()

    def _write(self) -> None:
        groups: list[_Group] = []
        self._in_hand = groups
        verdicts: list[Verdict] = []
        error: Exception | None = None
        started = time.perf_counter()

        def gather() -> list[Candidate]:
            if not groups:  # it asks again after an interruption
                groups.extend(self._gather())
            return [candidate for group in groups for candidate in group.candidates]

        try:
            verdicts = self._intake.accept_waiting(gather, PATIENCE).verdicts
        except Exception as raised:  # noqa: BLE001  whatever it is, it is its senders' answer
            error = raised
            # If it was raised before anybody had been asked, it is the answer of who waits now.
            groups = groups or self._gather()
        self._in_hand = []
        if groups:
            loop = groups[0].verdicts.get_loop()
            with suppress(RuntimeError):  # the loop has ended, and with it all who waited
                loop.call_soon_threadsafe(_answer, groups, verdicts, error)
        if verdicts:
            self._on_block(len(verdicts), time.perf_counter() - started)

    def _gather(self) -> list[_Group]:
        """Take those who wait, up to a block."""
        groups: list[_Group] = []
        room = self.most
        with self._changed:
            while self._groups and len(self._groups[0].candidates) <= room:
                groups.append(self._groups.popleft())
                room -= len(groups[-1].candidates)
            self._waiting -= self.most - room
        return groups


def _answer(groups: list[_Group], verdicts: list[Verdict], error: Exception | None) -> None:
    start = 0
    for candidates, future, _ in groups:
        end = start + len(candidates)
        if future.done():
            pass  # its sender was cancelled, and does not wait any more
        elif error is not None:
            future.set_exception(error)
        else:
            future.set_result(verdicts[start:end])
        start = end
