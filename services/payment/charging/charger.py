"""A worker's charger: calls on an event loop of its own, and the ledger in turns beside it.

A turn reads what is new (which partitions are to be had, what comes next in them), lets the desk
choose, and writes all that is to be written in one commit, for many partitions. Meanwhile calls go
on, and answers wait for the next turn.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

from sqlalchemy.exc import DBAPIError

from services.payment.charging.desk import Desk
from services.payment.charging.ledger_side import Found, LedgerSide, Plan
from services.payment.charging.writing import (
    Batch,
    gather,
    has_written,
    is_as_known,
    restore,
    was_written,
    write_what_can_be,
)
from services.payment.consumer import Room
from shared import clock
from shared.errors import LedgerUnavailable
from shared.ledger.pending import write_pending
from shared.logs import Logger
from shared.metrics import Meter
from shared.resilience import Mishaps

if TYPE_CHECKING:
    from collections.abc import Callable

    from services.payment.charging.writing import Part
    from services.payment.heartbeat import Heartbeat
    from services.payment.outside import OutsideGateway
    from shared.ledger.ledger import Ledger
    from shared.ledger.resolutions import Resolution
    from shared.settings import Settings

TICK_SECONDS = 0.05
TURN_SECONDS = 0.01
"""The least time between two commits: so answers share them."""

RESOLVE_SECONDS = 1.0
STUCK_SECONDS = 5.0
STUCK_TIMES = 3
"""A worker with a thread that hangs for so many time-outs, and seconds, makes way for another."""

OUTAGES = (LedgerUnavailable, OSError, MemoryError)

T = TypeVar("T")

log = Logger("charging")


class Charger:
    """Charges the orders of partitions through an outside gateway, in a thread of its own.

    Args:
        ledger: Whose orders these are.
        gateway: Who is called.
        settings: How many calls, and how long one may take.
        worker: The name that outcomes carry.
        heartbeat: Where the loop shows that it is alive.
        shares: Whether partitions are shared with other workers, rather than given to each.
        meter: Where it counts what it does.
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
        meter: Meter | None = None,
    ) -> None:
        self._ledger = ledger
        self._gateway = gateway
        self._settings = settings
        self._worker = worker
        self._heartbeat = heartbeat
        self._meter = meter or Meter()
        self._caller = secrets.token_hex(8)
        self._side = LedgerSide(ledger, shares=shares)
        self._hold, self._survey = self._side.hold, self._side.survey
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="charging-ledger")
        self._mishaps = Mishaps(log, "charging failed")
        self._hinted: set[int] = set()
        self._guard = threading.Lock()
        self._is_in_trouble = False
        self._unsure = Batch()
        self._must_reread = False
        self._closing_at: float | None = None
        self._resolved_at = self._turned_at = 0.0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._wake: asyncio.Event | None = None
        self._is_up = threading.Event()
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="charging", daemon=True)
        self._desk: Desk
        self._makes_way = False
        self._room = Room()

    def start(self) -> None:
        """Begin; return when the gateway is made.

        Raises:
            Exception: Whatever kept it from being made.
        """
        self._thread.start()
        self._is_up.wait()
        if self._error is not None:
            raise self._error

    @property
    def is_alive(self) -> bool:
        """Whether its thread is."""
        return self._thread.is_alive()

    def hint(self, partition: int) -> None:
        """Have a partition looked at soon; from any thread, without waiting."""
        with self._guard:
            self._hinted.add(partition)
        loop = self._loop
        if loop is not None and not loop.is_closed():
            loop.call_soon_threadsafe(self._rouse)

    def close(self, on_wait: Callable[[], None] = lambda: None) -> None:
        """Begin no more calls, wait for those that are out, write what they came to, and let go."""
        loop = self._loop
        if loop is not None and self._thread.is_alive():
            loop.call_soon_threadsafe(self._begin_to_close)
        while self._thread.is_alive():
            on_wait()
            self._thread.join(TICK_SECONDS)

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
        self._loop, self._wake = asyncio.get_running_loop(), asyncio.Event()
        self._desk = Desk(
            self._ledger,
            self._gateway,
            worker=self._worker,
            slots=self._settings.gateway_concurrency,
            timeout=self._settings.gateway_timeout,
            max_attempts=self._settings.max_attempts,
            meter=self._meter,
            wake=self._rouse,
            answered_at=lambda: self._hold.answered_at,
        )
        self._is_up.set()
        self._rouse()
        ticking = asyncio.create_task(self._tick())
        try:
            while not self._is_closed:
                await self._rest()
                with self._mishaps.survived(*OUTAGES):
                    try:
                        await self._turn()
                    except OUTAGES as error:
                        self._meet(error)
                if self._mishaps.latest:
                    self._must_reread = True
        finally:
            ticking.cancel()
            await self._desk.calls.close()
            self._hold.close()
            self._writer.shutdown(wait=False)
            if self._makes_way:
                sys.stderr.flush()
                os._exit(0)  # no thread can be ended by itself

    async def _tick(self) -> None:
        """Show that the loop turns, and do what is due."""
        mishaps = Mishaps(log, "calls failed")
        patience = max(STUCK_SECONDS, STUCK_TIMES * self._settings.gateway_timeout)
        while True:
            self._heartbeat.calling(self._desk.calls.out, is_away=self._desk.breaker.is_open)
            with mishaps.survived():
                self._desk.look()
                if self._desk.calls.stuck_for > patience and not self._closing_at:
                    log.warning("a call hangs: the worker makes way for another one")
                    self._makes_way = True
                    self._begin_to_close()
                if self._is_turn_due():
                    self._rouse()
            await asyncio.sleep(TICK_SECONDS)

    def _rouse(self) -> None:
        if self._wake is not None:
            self._wake.set()

    def _begin_to_close(self) -> None:
        self._closing_at = time.monotonic()
        self._desk.is_closing = True
        for partition in self._desk.partitions.values():
            self._desk.demote(partition)
        self._rouse()

    @property
    def _is_closed(self) -> bool:
        if self._closing_at is None:
            return False
        patience = self._settings.gateway_timeout + 2.0
        if time.monotonic() - self._closing_at > patience:
            return True
        return not self._desk.calls.out and not self._desk.partitions

    async def _rest(self) -> None:
        """Wait until there is something to do, and some time has passed since the last commit."""
        if self._wake is None:
            return
        await self._wake.wait()
        trouble = 0.25 if self._is_in_trouble else self._mishaps.backoff.seconds
        pause = self._turned_at + max(TURN_SECONDS, trouble) - time.monotonic()
        if pause > 0:
            await asyncio.sleep(pause)
        self._wake.clear()

    def _is_turn_due(self) -> bool:
        return self._must_reread or self._side.is_due or bool(self._closing_at)

    # Turns

    async def _turn(self) -> None:
        self._turned_at = time.monotonic()
        if self._must_reread:
            await self._read_again()
        plan = self._plan()
        try:
            found = await self._beside(self._side.read, plan, self._desk.partitions)
        except BaseException:
            self._desk.unread += plan.unread
            raise
        self._take_in(found)
        desk = self._desk
        desk.take_up()
        desk.promote()
        batch = gather(desk.partitions.values(), self._caller)
        if batch.parts:
            await self._write(batch)
        desk.start()
        await self._let_go()
        self._is_in_trouble = False
        if desk.wanted and any(each.is_behind for each in desk.partitions.values()):
            self._rouse()

    async def _beside(self, function: Callable[..., T], *arguments: object) -> T:
        """Do something with the ledger, in the one thread that does."""
        assert self._loop is not None  # noqa: S101
        return await self._loop.run_in_executor(self._writer, function, *arguments)

    def _plan(self) -> Plan:
        with self._guard:
            hinted, self._hinted = self._hinted, set()
        desk, now = self._desk, time.monotonic()
        taking = set() if desk.is_closing else self._survey.to_take(hinted, desk.partitions)
        asked: list[str] = []
        if now - self._resolved_at > RESOLVE_SECONDS:
            self._resolved_at = now
            asked = [row.order_id for row in desk.doubtful]
        unread, desk.unread = desk.unread[:200], desk.unread[200:]
        behind = [
            each
            for each in desk.partitions.values()
            if each.is_behind and not each.read and not each.is_leaving
        ]
        following = []
        if behind and desk.wanted:
            most = self._settings.batch_size
            following = [(each.number, each.taken_to, most, each.head) for each in behind]
        return Plan(taking, following, unread, asked)

    def _take_in(self, found: Found) -> None:
        desk = self._desk
        for cursor, rows in found.held:
            desk.adopt(cursor, rows)
            self._rouse()
        for number, partition in desk.partitions.items():
            head = self._survey.head(number)
            if head > partition.head:
                partition.head = head
                self._rouse()
        for number, money in found.balances.items():
            if number in desk.partitions:
                desk.partitions[number].know(money)
        for row, taken in found.again:
            desk.has_read(row, taken)
        for number, orders in found.following.items():
            partition = desk.partitions[number]
            partition.read.extend(orders)
            known = found.resolutions.keys() & {each.order.order_id for each in orders}
            partition.found |= {name: found.resolutions[name] for name in known}
        if found.resolutions:
            self._resolve(found.resolutions)
        leaving = self._survey.to_leave(desk.partitions)
        if leaving is not None and not leaving.is_leaving:
            leaving.is_leaving = True
            desk.demote(leaving)

    def _resolve(self, found: dict[str, Resolution]) -> None:
        for partition in self._desk.partitions.values():
            for row in list(partition.rows.values()):
                if row.order_id in found and row.resolution is None:
                    self._desk.resolve(row, found[row.order_id])

    async def _write(self, batch: Batch) -> None:
        self._unsure = batch
        parts = batch.parts
        try:
            await self._beside(write_pending, self._ledger, self._hold, batch.takings)
        except DBAPIError as error:
            log.warning("the ledger refuses a commit; it is parted", error=str(error.orig))
            parts = await self._beside(write_what_can_be, self._ledger, self._hold, batch)
            for part in batch.parts:
                if part not in parts:
                    restore(part)
        self._unsure = Batch()
        self._has_written(parts)

    def _has_written(self, parts: list[Part]) -> None:
        """Note what is in the ledger, and go on with it."""
        now = clock.now_us()
        settled = 0
        for part in parts:
            has_written(part)
            settled += len(part.accepted_at)
            for accepted_at in part.accepted_at:
                self._meter.latency.observe(now - accepted_at)
            for _ in part.taking.decided.failures:
                self._meter.count("retries")
            for row in part.rows:
                self._desk.has_written(row)
        if settled:
            self._meter.batches.observe(settled)

    async def _let_go(self) -> None:
        """Let others have the partitions in which nothing is left to do here."""
        desk = self._desk
        done = [
            each
            for each in desk.partitions.values()
            if not each.out
            and not each.has_news
            and (each.is_done or each.is_leaving or desk.is_closing)
        ]
        for each in done:
            desk.drop(each)
        if done:
            await self._beside(self._hold.let_go, [each.number for each in done])

    # Trouble

    def _meet(self, error: BaseException) -> None:
        self._room.leave_if_spent()
        if not self._is_in_trouble:
            self._is_in_trouble = True
            log.warning("ledger unavailable", error=str(error) or type(error).__name__)
        self._must_reread = True
        self._survey.give_grace()

    async def _read_again(self) -> None:
        """After trouble nothing is certain but the ledger: hold what is known against it."""
        desk = self._desk
        known = dict(desk.partitions)
        taken, states = await self._beside(self._side.take_again, set(known))
        batch, self._unsure = self._unsure, Batch()
        for part in batch.parts:
            state = states.get(part.partition.number)
            if state is not None and was_written(part, state):
                self._has_written([part])
            else:
                restore(part)
        for number, partition in known.items():
            if number not in taken or not is_as_known(partition, states[number]):
                log.warning("partition lost", partition=number)
                desk.drop(partition)
                if number in taken:
                    desk.adopt(*states[number])
            else:
                partition.head = max(partition.head, states[number][0].head)
        self._must_reread = False
