"""Calls: one a customer, fairly among the partitions, as many as there are slots.

All of it happens on the loop of the calls. An order is called only when the ledger has it as
``called``; the desk says what is to be written, and hears when it is.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from services.payment.charging.book import Call, HeldPartition, Place, Purpose, Row
from services.payment.charging.breaker import Breaker
from services.payment.charging.calls import Calls
from services.payment.charging.fates import Fates
from services.payment.charging.line import Line
from services.payment.gateway import Charge
from services.payment.gateway_call import copy_of
from services.payment.verdicts import Kind, Verdict
from shared import clock
from shared.logs import Logger

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from services.payment.outside import OutsideGateway
    from shared.ledger.cursors import Cursor
    from shared.ledger.ledger import Ledger
    from shared.ledger.pending import PendingRow
    from shared.ledger.resolutions import Resolution
    from shared.metrics import Meter

log = Logger("charging")

FRESH_SECONDS = 2.0
"""No call starts if the database has not said for so long that its partition is held."""

LEAST_AHEAD = 16
"""Orders that are written before there is a slot for them, so that no slot waits for a commit."""

LATE_SECONDS = 1.0
"""How long an order waits for the end of its own late call, or for a slot of those that were."""


class Desk:
    """Starts calls for the orders of held partitions, and hears how they end.

    Args:
        ledger: Whose orders these are.
        gateway: Who is called.
        worker: The name that outcomes carry.
        slots: Most calls at once.
        timeout: Seconds that a call may take.
        max_attempts: Attempts at an order before it is dead.
        meter: Where calls are counted.
        wake: Says that there is something to write or to read.
        answered_at: When the database last said that the partitions are held.

    Attributes:
        partitions: Those that are held.
        line: Their orders, before their calls.
        breaker: Whether the backend is there.
        calls: Those that are out.
        is_closing: Whether nothing begins any more.
    """

    def __init__(
        self,
        ledger: Ledger,
        gateway: OutsideGateway,
        *,
        worker: str,
        slots: int,
        timeout: float,
        max_attempts: int,
        meter: Meter,
        wake: Callable[[], None],
        answered_at: Callable[[], float],
    ) -> None:
        traits = gateway.traits
        self._ledger_id = ledger.ledger_id
        self._traits = traits
        self._slots = slots if traits.concurrent else 1
        # Only where a row that was never called does no harm if its worker ends.
        self._ahead = max(LEAST_AHEAD, self._slots // 4) if traits.can_resolve else 0
        self._late_slots = max(1, self._slots // 4)
        self._late_out = 0
        self._meter = meter
        self._wake = wake
        self._answered_at = answered_at
        self.partitions: dict[int, HeldPartition] = {}
        self.line = Line(self.partitions, self._ahead, wake)
        self._fates = self.line.fates = Fates(
            traits,
            worker=worker,
            max_attempts=max_attempts,
            opening_balance=ledger.opening_balance,
            settled=self.line.remove,
            put_off=self.line.put_off,
        )
        self.breaker = Breaker()
        self.calls = Calls(gateway, timeout, self._slots, self._on_end)
        self.is_closing = False

    @property
    def doubtful(self) -> list[Row]:
        """The orders that may be charged, and nobody knows: only a customer's first may be."""
        return [
            queue[0]
            for partition in self.partitions.values()
            for queue in partition.customers.values()
            if queue[0].doubtful_since is not None
        ]

    @property
    def wanted(self) -> int:
        """How many more orders should be taken up, so that no slot is idle."""
        if self.is_closing or not self.breaker.may_call():
            return 0
        waiting = sum(len(each.eligible) for each in self.partitions.values())
        return max(0, self._room - waiting)

    @property
    def _room(self) -> int:
        """How many more orders may be written as called."""
        return self._slots + self._ahead - self.calls.out - len(self.line.startable)

    # Orders come

    def adopt(self, cursor: Cursor, rows: Iterable[PendingRow]) -> None:
        """Begin to work on a partition that was just taken, with the rows that it has."""
        partition = self.partitions[cursor.partition] = HeldPartition(cursor)
        for each in rows:
            row = Row(partition, each, None)
            partition.add(row)
            self._fates.take_over(row)
        for queue in list(partition.customers.values()):
            self.line.advance(queue[0])

    def drop(self, partition: HeldPartition) -> None:
        """Forget a partition: it is let go, or somebody else has it."""
        del self.partitions[partition.number]
        self.line.drop(partition)

    def take_up(self) -> None:
        """Take up as many orders as are wanted of those that are read, fairly."""
        wanted = self.wanted
        queues = [each for each in self.line.in_turn() if each.read]
        while queues and wanted > 0:
            share = -(-wanted // len(queues))
            for partition in queues:
                for _ in range(min(share, wanted, len(partition.read))):
                    self.line.add(partition.take_up())
                    wanted -= 1
            queues = [each for each in queues if each.read]

    def resolve(self, found: dict[str, Resolution]) -> None:
        """Note what somebody has found out about orders; they are settled so in their turn."""
        for partition in self.partitions.values():
            for row in list(partition.rows.values()):
                if row.order_id in found and row.resolution is None:
                    row.resolution = found[row.order_id]
                    if row.place is Place.TIMER:
                        self.line.advance(row)

    # What is to be written

    def promote(self) -> None:
        """Choose whom to call next, and have that written."""
        line = self.line
        if self.is_closing or line.suspect is not None:
            return
        if not self.breaker.may_call():
            line.promote(int(self._probes_by_calling and not line.startable))
        elif line.suspects:
            if not self.calls.out and not line.startable:
                line.promote_suspect()
        else:
            promoted = line.promote(self._room)
            line.chain([*promoted, *line.startable, *self.calls.rows()])

    def has_written(self, row: Row) -> None:
        """Note that the ledger has a row as it was when that was gathered."""
        self.line.has_written(row)
        is_away = self.breaker.is_open and not self._probes_by_calling
        if row.is_called and (self.is_closing or is_away):
            self.line.demote(row.partition)

    def leave(self, partition: HeldPartition) -> None:
        """Begin nothing in a partition any more, since others are to have it."""
        partition.is_leaving = True
        self.line.demote(partition)

    def close(self) -> None:
        """Begin nothing any more."""
        self.is_closing = True
        for partition in self.partitions.values():
            self.line.demote(partition)

    # Calls

    def look(self) -> None:
        """Give up late calls, and go on with what is due; to be called several times a second."""
        self.calls.look()
        self.line.go_on()
        self.start()

    def start(self) -> None:
        """Start calls as long as there are slots."""
        if time.monotonic() - self._answered_at() > FRESH_SECONDS:
            return
        if self.breaker.is_open:
            self._probe()
            return
        while self._may_start() and (row := self.line.next_startable()) is not None:
            if row.was_late and self._late_out >= self._late_slots:
                self.line.postpone(row, LATE_SECONDS)
            else:
                self._call(row)

    def _may_start(self) -> bool:
        return not self.is_closing and self.breaker.may_call() and self.calls.out < self._slots

    @property
    def _probes_by_calling(self) -> bool:
        """Whether only an order can tell whether the backend is there again."""
        return self.breaker.is_open and not self._traits.can_ping

    def _probe(self) -> None:
        if self._traits.can_ping:
            if self.breaker.may_probe():
                self.calls.ping()
            return
        # Whoever was asked for last stands at the end of the line.
        if self.line.startable and self.breaker.may_probe():
            row = self.line.next_startable()
            if row is not None:
                self._call(row)

    def _call(self, row: Row) -> None:
        looks_up = self._fates.looks_up(row)
        if looks_up and row.late is not None:
            self.line.postpone(row, LATE_SECONDS)  # what it did is not known before its end
            return
        charge = self._charge_of(row)
        row.place, row.is_called = Place.OUT, False
        row.partition.out += 1
        self._late_out += row.was_late
        row.call = self.calls.begin(Purpose.LOOKUP if looks_up else Purpose.CHARGE, row, charge)

    def _charge_of(self, row: Row) -> Charge:
        taken = row.taken
        if taken is None:  # cannot be: it was read before it was promoted
            raise RuntimeError(f"order {row.order_id} is to be called and was not read")
        order = taken.order
        return Charge(
            copy_of(order),
            order.total,
            self._fates.balance_of(row),
            taken.attempts + row.attempts + 1,
            f"{self._ledger_id}~{row.order_id}~{row.generation}",
            row.doubtful_since is not None,
        )

    def _on_end(self, call: Call, verdict: Verdict) -> None:
        """Hear how a call has ended: in time, given up, or after that."""
        row = call.row
        self._count(call, verdict)
        # The end of a call that was given up says nothing more, if it brings no answer.
        is_silence = call.is_given_up and call.has_ended and verdict.kind is Kind.DOUBT
        if not is_silence and self.breaker.note(verdict):
            self._on_breaker()
        if row is not None and row.call is call:
            self._hear(row, call, verdict)
        elif row is not None and row.late is call:
            self._hear_late(row, call, verdict)
        self.start()
        self._wake()

    def _hear(self, row: Row, call: Call, verdict: Verdict) -> None:
        """An answer has come, or is not waited for any longer."""
        self._free_slot(row)
        if not call.has_ended:
            row.late = call
        if row.place is Place.OUT:
            self._fates.decide(row, verdict)
        if row.place is Place.DONE and call.task is not None and not call.has_ended:
            call.task.cancel()  # its answer is of no use any more

    def _hear_late(self, row: Row, call: Call, verdict: Verdict) -> None:
        """A late answer still counts, if it is one."""
        row.late = None
        if row.place is Place.DONE or call.generation != row.generation:
            return
        if call.purpose is Purpose.CHARGE and verdict.kind in {Kind.PAID, Kind.DECLINED}:
            if row.call is not None:
                self._free_slot(row)  # the other call's answer is not waited for
            self._fates.decide(row, verdict)
        elif self._fates.looks_up(row) and row.place in {Place.TIMER, Place.ELIGIBLE}:
            self._fates.doubt(row, Verdict(Kind.DOUBT, row.reason))

    def _free_slot(self, row: Row) -> None:
        row.call = None
        row.partition.out -= 1
        self._late_out -= row.was_late

    def _count(self, call: Call, verdict: Verdict) -> None:
        if call.purpose is not Purpose.PING and not (call.is_given_up and call.has_ended):
            took = time.monotonic() - call.started
            self._meter.calls.observe(int(took * clock.SECOND))
            self._meter.count("charges" if call.purpose is Purpose.CHARGE else "lookups")
        if verdict.kind is Kind.UNAVAILABLE:
            self._meter.count("unavailable")
        elif verdict.kind in {Kind.DOUBT, Kind.IN_USE, Kind.SPENT}:
            self._meter.count("doubts")

    def _on_breaker(self) -> None:
        if self.breaker.is_open:
            log.warning("the gateway is away; orders wait", why=self.breaker.reason)
            for partition in self.partitions.values():
                self.line.demote(partition)
        else:
            log.info("the gateway is back")
