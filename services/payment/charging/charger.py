"""A worker's charger: calls on an event loop of its own, and the ledger in turns beside it.

A turn reads what is new (which partitions are to be had, what comes next in them), lets the desk
choose, and writes all that is to be written in one commit, for many partitions. Meanwhile calls go
on, and answers wait for the next turn.
"""

from __future__ import annotations

import asyncio
import secrets
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from sqlalchemy.exc import DBAPIError

from services.payment.charging.desk import Desk
from services.payment.charging.survey import Survey
from services.payment.charging.writing import (
    Batch,
    gather,
    has_written,
    restore,
    was_written,
    write_what_can_be,
)
from shared import clock
from shared.errors import LedgerUnavailable
from shared.ledger.accounts import balances, customer_account
from shared.ledger.database.hold import Hold
from shared.ledger.pending import read_held, write_pending
from shared.ledger.resolutions import read_resolutions
from shared.ledger.taking import take_after, take_again
from shared.logs import Logger
from shared.metrics import Meter
from shared.resilience import Mishaps

if TYPE_CHECKING:
    from collections.abc import Callable

    import sqlalchemy as sa

    from services.payment.charging.book import HeldPartition, Money, Row
    from services.payment.charging.writing import Part, State
    from services.payment.heartbeat import Heartbeat
    from services.payment.outside import OutsideGateway
    from shared.ledger.cursors import Cursor
    from shared.ledger.ledger import Ledger
    from shared.ledger.pending import PendingRow
    from shared.ledger.resolutions import Resolution
    from shared.ledger.taking import Taken
    from shared.schema import Order
    from shared.settings import Settings

TICK_SECONDS = 0.05
TURN_SECONDS = 0.01
"""The least time between two commits: so answers share them."""

KEEP_SECONDS = 1.0
"""How often the database hears of a holder that has nothing to write."""

RESOLVE_SECONDS = 1.0
STUCK_SECONDS = 60.0
"""A worker with a thread that hangs for longer makes way for another one."""

OUTAGES = (LedgerUnavailable, OSError, MemoryError)

T = TypeVar("T")

log = Logger("charging")


class Plan(NamedTuple):
    """What a turn is to read.

    Attributes:
        taking: Partitions to take, if nobody has them.
        following: For each partition that is held, after which number to read, how many orders,
            and up to which head.
        unread: Orders to read again.
        asked: Orders that somebody may have found something out about.
    """

    taking: set[int]
    following: list[tuple[int, int, int, int]]
    unread: list[Row]
    asked: list[str]


class Found(NamedTuple):
    """What a turn has read."""

    held: list[tuple[Cursor, list[PendingRow]]]
    following: dict[int, list[Taken]]
    again: list[tuple[Row, Taken]]
    resolutions: dict[str, Resolution]
    balances: dict[int, Money]


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
        self._hold = Hold(ledger.database)
        self._survey = Survey(shares=shares)
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="charging-ledger")
        self._mishaps = Mishaps(log, "charging failed")
        self._hinted: set[int] = set()
        self._guard = threading.Lock()
        self._is_in_trouble = False
        self._unsure = Batch()
        self._must_reread = False
        self._closing_at: float | None = None
        self._kept_at = self._resolved_at = self._turned_at = 0.0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._wake: asyncio.Event | None = None
        self._is_up = threading.Event()
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="charging", daemon=True)
        self._desk: Desk
        self.is_stuck = False

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

    async def _tick(self) -> None:
        """Show that the loop turns, and do what is due."""
        mishaps = Mishaps(log, "calls failed")
        while True:
            self._heartbeat.calling(self._desk.calls.out, is_away=self._desk.breaker.is_open)
            with mishaps.survived():
                self._desk.look()
                self.is_stuck = self._desk.calls.stuck_for > STUCK_SECONDS
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
        now = time.monotonic()
        return (
            self._must_reread
            or now - self._kept_at > KEEP_SECONDS
            or self._survey.is_due(is_holding=bool(self._hold.held))
            or bool(self._closing_at)
        )

    # Turns

    async def _turn(self) -> None:
        self._turned_at = time.monotonic()
        if self._must_reread:
            await self._read_again()
        plan = self._plan()
        try:
            found = await self._beside(self._read, plan)
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

    def _read(self, plan: Plan) -> Found:
        """Read all of it, in the ledger's thread."""
        now = time.monotonic()
        if now - self._kept_at > KEEP_SECONDS:
            self._kept_at = now
            self._hold.keep()
        taken = self._hold.take(plan.taking)
        database = self._ledger.database
        with database.read() as connection:
            self._survey.look(connection)
            held = [read_held(connection, partition) for partition in sorted(taken)]
            following = {
                partition: take_after(connection, partition, number, most, head)
                for partition, number, most, head in plan.following
            }
            again = [
                (row, take_again(connection, row.partition.number, row.number))
                for row in plan.unread
            ]
            fresh = [each for found in following.values() for each in found if each.attempts]
            asked = [*plan.asked, *(each.order.order_id for each in fresh)]
            resolutions = read_resolutions(self._ledger, connection, asked)
            orders = {number: [each.order for each in found] for number, found in following.items()}
            for row, found in again:
                orders.setdefault(row.partition.number, []).append(found.order)
            balances = {
                number: self._balances(connection, number, theirs)
                for number, theirs in orders.items()
            }
        return Found(held, following, again, resolutions, balances)

    def _balances(self, connection: sa.Connection, number: int, orders: list[Order]) -> Money:
        """Read what the customers of orders have who are not known yet."""
        partition = self._desk.partitions[number]
        names = {customer_account(each.customer_id, each.currency) for each in orders}
        names -= partition.balances.keys()
        if not names:
            return {}
        found = balances(self._ledger, connection, number, names)
        return {name: found.get(name) for name in names}

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
            retried = [each.order.order_id for each in orders if each.attempts]
            known = found.resolutions.keys() & retried
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
        if not self._is_in_trouble:
            self._is_in_trouble = True
            log.warning("ledger unavailable", error=str(error) or type(error).__name__)
        self._must_reread = True
        self._survey.give_grace()

    async def _read_again(self) -> None:
        """After trouble nothing is certain but the ledger: hold what is known against it."""
        desk = self._desk
        known = dict(desk.partitions)
        taken, states = await self._beside(self._take_again, set(known))
        batch, self._unsure = self._unsure, Batch()
        for part in batch.parts:
            state = states.get(part.partition.number)
            if state is not None and was_written(part, state):
                self._has_written([part])
            else:
                restore(part)
        for number, partition in known.items():
            if number not in taken or not _is_as_known(partition, states[number]):
                log.warning("partition lost", partition=number)
                desk.drop(partition)
                if number in taken:
                    desk.adopt(*states[number])
            else:
                partition.head = max(partition.head, states[number][0].head)
        self._must_reread = False

    def _take_again(self, wanted: set[int]) -> tuple[set[int], dict[int, State]]:
        self._hold.take(wanted)
        self._hold.let_go(self._hold.held - wanted)  # taken, and then not read
        held = self._hold.held & wanted
        with self._ledger.database.read() as connection:
            return held, {number: read_held(connection, number) for number in held}


def _is_as_known(partition: HeldPartition, state: State) -> bool:
    """Whether nobody else has been at work on a partition since it was written last."""
    cursor, rows = state
    if cursor.number != partition.cursor.number:
        return False
    known: dict[int, str | None] = {
        row.number: row.caller for row in partition.rows.values() if not row.is_new
    }
    known |= dict.fromkeys(partition.gone)
    if {row.number for row in rows} != known.keys():
        return False
    return all(known[row.number] in {None, row.caller} for row in rows)
