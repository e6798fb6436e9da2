"""A worker's charger: calls on an event loop of its own, and turns with the ledger beside it.

Answers that come while a turn is taken wait for the next one, and share its commit.
"""

from __future__ import annotations

import asyncio
import os
import sys
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from services.payment.charging.desk import Desk
from services.payment.charging.ledger_side import LedgerSide
from services.payment.charging.turns import Turns
from services.payment.consumer import OUTAGES, Room
from shared.logs import Logger
from shared.resilience import Mishaps

if TYPE_CHECKING:
    from collections.abc import Callable

    from services.payment.heartbeat import Heartbeat
    from services.payment.outside import OutsideGateway
    from shared.ledger.ledger import Ledger
    from shared.settings import Settings

TICK_SECONDS = 0.05
TURN_SECONDS = 0.01
"""The least time between two commits: so answers share them."""

TROUBLE_SECONDS = 0.25
"""The same after trouble with the ledger."""

STUCK_SECONDS = 5.0
STUCK_TIMES = 3
"""A worker with a thread that hangs for so many time-outs, and seconds, makes way for another."""

LEAVE_SECONDS = 2.0
"""How long, beyond a call's time, a worker that leaves waits for what it has to write."""

log = Logger("charging")


class Charger:
    """Charges the orders of partitions through an outside gateway, in a thread of its own.

    Args:
        ledger: Whose orders these are.
        gateway: Who is called.
        settings: How many calls, and how long one may take.
        worker: The name that outcomes carry.
        heartbeat: Where the loop shows that it is alive, and counts what it does.
        shares: Whether partitions are shared with other workers, rather than given to each.
    """

    def __init__(
        self,
        ledger: Ledger,
        gateway: OutsideGateway,
        settings: Settings,
        *,
        worker: str,
        heartbeat: Heartbeat,
        shares: bool,
    ) -> None:
        self._ledger = ledger
        self._gateway = gateway
        self._settings = settings
        self._worker = worker
        self._heartbeat = heartbeat
        self._side = LedgerSide(ledger, shares=shares)
        self._mishaps = Mishaps(log, "charging failed")
        self._room = Room()
        self._hinted: set[int] = set()
        self._guard = threading.Lock()
        self._is_in_trouble = False
        self._makes_way = False
        self._closing_at: float | None = None
        self._turned_at = 0.0
        self._is_up = threading.Event()
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="charging", daemon=True)
        # Made on the loop, which ``start`` waits for.
        self._loop: asyncio.AbstractEventLoop
        self._wake: asyncio.Event
        self._desk: Desk
        self._turns: Turns

    def start(self) -> None:
        """Begin; return when the gateway is made.

        Raises:
            Exception: Whatever kept it from being made.
        """
        self._thread.start()
        self._is_up.wait()
        if self._error is not None:
            raise self._error

    def hint(self, partition: int) -> None:
        """Have a partition looked at soon; from any thread, without waiting."""
        with self._guard:
            self._hinted.add(partition)
        self._soon(self._rouse)

    def close(self, on_wait: Callable[[], None] = lambda: None) -> None:
        """Begin no more calls, wait for those that are out, write what they came to, and let go."""
        self._soon(self._begin_to_close)
        while self._thread.is_alive():
            on_wait()
            self._thread.join(TICK_SECONDS)

    def _soon(self, action: Callable[[], None]) -> None:
        """Have something done on the loop, if that is there still."""
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(action)

    # The loop of the calls

    def _run(self) -> None:
        try:
            import uvloop  # noqa: PLC0415  only who charges needs it

            uvloop.run(self._main())
        except BaseException as error:
            self._error = error
            if self._is_up.is_set():
                log.exception("charging ended")
        finally:
            self._is_up.set()

    async def _main(self) -> None:
        settings, meter = self._settings, self._heartbeat.meter
        self._loop, self._wake = asyncio.get_running_loop(), asyncio.Event()
        self._desk = Desk(
            self._ledger,
            self._gateway,
            worker=self._worker,
            slots=settings.gateway_concurrency,
            timeout=settings.gateway_timeout,
            max_attempts=settings.max_attempts,
            meter=meter,
            wake=self._rouse,
            answered_at=lambda: self._side.hold.answered_at,
        )
        self._turns = Turns(
            self._ledger, self._desk, self._side, batch_size=settings.batch_size, meter=meter
        )
        self._is_up.set()
        self._rouse()
        ticking = asyncio.create_task(self._tick())
        try:
            while not self._is_closed:
                await self._rest()
                # What nobody knows may have happened anywhere in a turn, too.
                with self._mishaps.survived():
                    await self._take_turn()
        finally:
            ticking.cancel()
            await self._desk.calls.close()
            self._turns.close()
            if self._makes_way:
                sys.stderr.flush()
                os._exit(0)  # no thread can be ended by itself

    async def _take_turn(self) -> None:
        self._turned_at = time.monotonic()
        with self._guard:
            hinted, self._hinted = self._hinted, set()
        try:
            is_due = await self._turns.take(hinted)
        except OUTAGES as error:
            self._room.leave_if_spent()
            if not self._is_in_trouble:
                self._is_in_trouble = True
                log.warning("ledger unavailable", error=str(error) or type(error).__name__)
            self._side.survey.give_grace()
            return
        self._is_in_trouble = False
        if is_due:
            self._rouse()

    async def _tick(self) -> None:
        """Show that the loop turns, and do what is due."""
        mishaps = Mishaps(log, "calls failed")
        desk = self._desk
        patience = max(STUCK_SECONDS, STUCK_TIMES * self._settings.gateway_timeout)
        while True:
            self._heartbeat.calling(desk.calls.out, is_away=desk.breaker.is_open)
            with mishaps.survived():
                desk.look()
                if desk.calls.stuck_for > patience and self._closing_at is None:
                    log.warning("a call hangs: the worker makes way for another one")
                    self._makes_way = True
                    self._begin_to_close()
                if self._turns.is_lost or self._side.is_due or self._closing_at is not None:
                    self._rouse()
            await asyncio.sleep(TICK_SECONDS)

    def _rouse(self) -> None:
        self._wake.set()

    def _begin_to_close(self) -> None:
        self._closing_at = time.monotonic()
        self._desk.close()
        self._rouse()

    @property
    def _is_closed(self) -> bool:
        if self._closing_at is None:
            return False
        patience = self._settings.gateway_timeout + LEAVE_SECONDS
        if time.monotonic() - self._closing_at > patience:
            return True
        return not self._desk.calls.out and not self._desk.partitions

    async def _rest(self) -> None:
        """Wait until there is something to do, and some time has passed since the last turn."""
        await self._wake.wait()
        trouble = TROUBLE_SECONDS if self._is_in_trouble else self._mishaps.backoff.seconds
        pause = self._turned_at + max(TURN_SECONDS, trouble) - time.monotonic()
        if pause > 0:
            await asyncio.sleep(pause)
        self._wake.clear()
