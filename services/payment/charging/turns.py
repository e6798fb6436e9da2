"""Turns with the ledger: read what is new, let the desk choose, write it all in one commit.

What was read or written is in doubt where the ledger fails in between. Then the next turn takes the
partitions again, and holds what is known against what is there.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

from sqlalchemy.exc import DBAPIError

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
from shared import clock
from shared.ledger.pending import write_pending
from shared.logs import Logger

if TYPE_CHECKING:
    from collections.abc import Callable

    from services.payment.charging.desk import Desk
    from services.payment.charging.writing import Part
    from shared.ledger.ledger import Ledger
    from shared.metrics import Meter

RESOLVE_SECONDS = 1.0
"""How often it is asked what somebody has found out about orders in doubt."""

MOST_UNREAD = 200
"""Most orders that are read again in a turn."""

T = TypeVar("T")

log = Logger("charging")


class Turns:
    """Takes turns with a ledger, for one worker.

    Args:
        ledger: Which.
        desk: Who calls.
        side: Holds and reads partitions.
        batch_size: Most orders of a partition that are read at once.
        meter: Where it counts what it does.

    Attributes:
        is_lost: Whether nothing is certain but the ledger.
    """

    def __init__(
        self, ledger: Ledger, desk: Desk, side: LedgerSide, *, batch_size: int, meter: Meter
    ) -> None:
        self._ledger = ledger
        self._desk = desk
        self._side = side
        self._batch_size = batch_size
        self._meter = meter
        self._caller = secrets.token_hex(8)
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="charging-ledger")
        self._unsure = Batch()
        self._resolved_at = 0.0
        self.is_lost = False

    async def take(self, hinted: set[int]) -> bool:
        """Take a turn; say whether the next one is due at once.

        Args:
            hinted: Partitions of which somebody has told.

        Raises:
            LedgerUnavailable: The next turn begins with reading all of it again.
        """
        try:
            if self.is_lost:
                await self._read_again()
                self.is_lost = False
            return await self._take(hinted)
        except BaseException:
            self.is_lost = True
            raise

    def close(self) -> None:
        """Let go of everything, and wait for nobody."""
        self._side.hold.close()
        self._writer.shutdown(wait=False)

    async def _take(self, hinted: set[int]) -> bool:
        desk = self._desk
        plan = self._plan(hinted)
        try:
            found = await self._beside(self._side.read, plan, desk.partitions)
        except BaseException:
            desk.line.unread += plan.unread
            raise
        has_news = self._take_in(found)
        desk.take_up()
        desk.promote()
        batch = gather(desk.partitions.values(), self._caller)
        if batch.parts:
            await self._write(batch)
        desk.start()
        await self._let_go()
        return has_news or (
            desk.wanted > 0 and any(each.is_behind for each in desk.partitions.values())
        )

    async def _beside(self, function: Callable[..., T], *arguments: object) -> T:
        """Do something with the ledger, in the one thread that does."""
        return await asyncio.get_running_loop().run_in_executor(self._writer, function, *arguments)

    # Reading

    def _plan(self, hinted: set[int]) -> Plan:
        desk, line, now = self._desk, self._desk.line, time.monotonic()
        taking: set[int] = set()
        if not desk.is_closing:
            taking = self._side.survey.to_take(hinted, desk.partitions)
        asked: list[str] = []
        if now - self._resolved_at > RESOLVE_SECONDS:
            self._resolved_at = now
            asked = [row.order_id for row in desk.doubtful]
        unread, line.unread = line.unread[:MOST_UNREAD], line.unread[MOST_UNREAD:]
        following = []
        if desk.wanted:
            following = [
                (each.number, each.taken_to, self._batch_size, each.head)
                for each in desk.partitions.values()
                if each.is_behind and not each.read and not each.is_leaving
            ]
        return Plan(taking, following, unread, asked, looks=bool(hinted))

    def _take_in(self, found: Found) -> bool:
        """Note what was read; say whether there is more to be done with it than in this turn."""
        desk, survey = self._desk, self._side.survey
        has_news = bool(found.held)
        for cursor, rows in found.held:
            desk.adopt(cursor, rows)
        for number, partition in desk.partitions.items():
            if (head := survey.head(number)) > partition.head:
                partition.head = head
                has_news = True
        for number, money in found.balances.items():
            desk.partitions[number].know(money)
        for row, taken in found.again:
            desk.line.has_read(row, taken)
        for number, orders in found.following.items():
            partition = desk.partitions[number]
            partition.read.extend(orders)
            known = found.resolutions.keys() & {each.order.order_id for each in orders}
            partition.found |= {name: found.resolutions[name] for name in known}
        if found.resolutions:
            desk.resolve(found.resolutions)
        if (leaving := survey.to_leave(desk.partitions)) is not None:
            desk.leave(leaving)
        return has_news

    # Writing

    async def _write(self, batch: Batch) -> None:
        self._unsure = batch
        hold, parts = self._side.hold, batch.parts
        try:
            await self._beside(write_pending, self._ledger, hold, batch.takings)
        except DBAPIError as error:
            log.warning("the ledger refuses a commit; it is parted", error=str(error.orig))
            parts = await self._beside(write_what_can_be, self._ledger, hold, batch)
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
            await self._beside(self._side.hold.let_go, [each.number for each in done])

    # After trouble

    async def _read_again(self) -> None:
        """Take the partitions again, and hold what is known against what is there."""
        desk = self._desk
        known = dict(desk.partitions)
        held = await self._beside(self._side.take_again, set(known))
        batch, self._unsure = self._unsure, Batch()
        for part in batch.parts:
            state = held.get(part.partition.number)
            if state is not None and was_written(part, state):
                self._has_written([part])
            else:
                restore(part)
        for number, partition in known.items():
            state = held.get(number)
            if state is not None and is_as_known(partition, state):
                partition.head = max(partition.head, state[0].head)
                continue
            log.warning("partition lost", partition=number)
            desk.drop(partition)
            if state is not None:
                desk.adopt(*state)
