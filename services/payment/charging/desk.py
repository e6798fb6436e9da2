"""Who is called next: one call a customer, fairly among the partitions, as many as there are slots.

All of it happens on the loop of the calls. An order is called only when the ledger has it as
``called``; the desk says what is to be written, and hears when it is.
"""

from __future__ import annotations

import heapq
import time
from collections import deque
from itertools import count, islice
from typing import TYPE_CHECKING

from services.payment.charging.book import Call, HeldPartition, Place, Purpose, Row
from services.payment.charging.breaker import Breaker
from services.payment.charging.calls import Calls
from services.payment.charging.fates import ALONE_FROM, Fates
from services.payment.charging.verdicts import Kind, Verdict
from services.payment.gateway import Charge
from shared import clock
from shared.ledger.pending import PendingRow
from shared.logs import Logger

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from services.payment.outside import OutsideGateway
    from shared.ledger.cursors import Cursor
    from shared.ledger.ledger import Ledger
    from shared.ledger.resolutions import Resolution
    from shared.ledger.taking import Taken
    from shared.metrics import Meter

log = Logger("charging")

FRESH_SECONDS = 2.0
"""No call starts if the database has not said for so long that its partition is held."""

LEAST_AHEAD = 16
"""Orders that are written before there is a slot for them, so that no slot waits for a commit."""

CHAINED = 8
"""Most orders of a customer that are written ahead, behind the one that is called."""

BODY_BYTES = 8 * 2**20
"""How many bytes of orders are kept that wait for others; the rest is read again."""


class Desk:
    """Keeps the queues of held partitions, and starts calls.

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
        self._meter = meter
        self._wake = wake
        self._answered_at = answered_at
        self._fates = Fates(
            traits,
            worker=worker,
            max_attempts=max_attempts,
            opening_balance=ledger.opening_balance,
            settled=self._remove,
            put_off=self._put_off,
        )
        self._startable: deque[Row] = deque()
        self._suspects: deque[Row] = deque()
        self._suspect: Row | None = None
        self._timers: list[tuple[float, int, Row]] = []
        self._order = count()
        self._chained = 0
        self._late_slots = max(1, self._slots // 4)
        self._late_out = 0
        self._bytes = 0
        self.partitions: dict[int, HeldPartition] = {}
        self.unread: list[Row] = []
        self.breaker = Breaker()
        self.calls = Calls(gateway, timeout, self._slots, self._on_end)
        self.is_closing = False

    # What is there

    @property
    def doubtful(self) -> list[Row]:
        """The orders that may be charged, and nobody knows."""
        return [
            row
            for partition in self.partitions.values()
            for queue in partition.customers.values()
            for row in (queue[0],)
            if row.doubtful_since is not None
        ]

    @property
    def wanted(self) -> int:
        """How many more orders should be taken up, so that no slot is idle."""
        if self.is_closing or not self.breaker.may_call():
            return 0
        waiting = sum(len(each.eligible) for each in self.partitions.values())
        return max(0, self._slots + self._ahead - self.calls.out - len(self._startable) - waiting)

    # Orders come

    def adopt(self, cursor: Cursor, rows: Iterable[PendingRow]) -> HeldPartition:
        """Begin to work on a partition that was just taken, with the rows that it has."""
        partition = HeldPartition(cursor)
        self.partitions[partition.number] = partition
        for each in rows:
            row = Row(partition, each, None)
            partition.add(row)
            self._fates.take_over(row)
        for queue in list(partition.customers.values()):
            self.advance(queue[0])
        return partition

    def drop(self, partition: HeldPartition) -> None:
        """Forget a partition: it is let go, or somebody else has it."""
        if self.partitions.get(partition.number) is partition:
            del self.partitions[partition.number]
        for row in partition.rows.values():
            self._forget_body(row)
            self._unchain(row)
            row.place = Place.DONE
        self._startable = deque(row for row in self._startable if row.place is not Place.DONE)
        self._suspects = deque(row for row in self._suspects if row.place is not Place.DONE)
        if self._suspect is not None and self._suspect.place is Place.DONE:
            self._suspect = None
        self.unread = [row for row in self.unread if row.place is not Place.DONE]

    def take_up(self) -> None:
        """Take up as many orders as are wanted of those that are read, fairly."""
        wanted = self.wanted
        queues = [each for each in self.partitions.values() if each.read and not each.is_leaving]
        while queues and wanted > 0:
            share = -(-wanted // len(queues))
            for partition in queues:
                wanted -= self._take_up(partition, min(share, wanted))
            queues = [each for each in queues if each.read]

    def _take_up(self, partition: HeldPartition, most: int) -> int:
        count = min(most, len(partition.read))
        for _ in range(count):
            taken = partition.read.popleft()
            order = taken.order
            row = Row(
                partition,
                PendingRow(
                    partition.number,
                    taken.number,
                    order.order_id,
                    order.customer_id,
                    "queued",
                    taken.generation,
                    partition.cursor.attempts if taken.number == partition.cursor.number + 1 else 0,
                    0,
                    None,
                    None,
                    None,
                    None,
                    "",
                ),
                taken,
            )
            row.is_new = True
            row.resolution = partition.found.pop(order.order_id, None)
            partition.taken_to = taken.number
            partition.changed[row.number] = row
            self._bytes += taken.size
            if partition.add(row):
                self.advance(row)
            elif self._bytes > BODY_BYTES:
                self._forget_body(row)
        return count

    def has_read(self, row: Row, taken: Taken) -> None:
        """Note that an order was read again."""
        if row.place is not Place.UNREAD:
            return
        row.taken = taken
        self._bytes += taken.size
        self.advance(row)

    def resolve(self, row: Row, found: Resolution) -> None:
        """Note what somebody has found out about an order; it is settled so in its turn."""
        row.resolution = found
        if row.place is Place.TIMER:
            self.advance(row)

    def advance(self, row: Row) -> None:
        """Bring a customer's first order as far as it goes."""
        if row.taken is None:
            row.place = Place.UNREAD
            self.unread.append(row)
            self._wake()
            return
        if row.resolution is None and row.due > time.monotonic():
            row.place = Place.TIMER
            heapq.heappush(self._timers, (row.due, next(self._order), row))
            return
        if self._fates.without_call(row):
            return
        if row.is_called:
            row.place = Place.STARTABLE
            self._startable.append(row)
        else:
            self._make_eligible(row)

    def _make_eligible(self, row: Row) -> None:
        row.place = Place.ELIGIBLE
        if row.crashes >= ALONE_FROM:
            self._suspects.append(row)
        else:
            row.partition.eligible.append(row)
        self._wake()

    # What is to be written

    def promote(self) -> None:
        """Choose whom to call next, and have that written."""
        if self.is_closing or self._suspect is not None:
            return
        room = self._slots + self._ahead - self.calls.out - len(self._startable)
        if not self.breaker.may_call():
            room = 1 if self._probes_by_calling and not self._startable else 0
        elif self._suspects:
            self._promote_suspect()
            return
        promoted: list[Row] = []
        for row in self._take_eligible(room):
            if row.due > time.monotonic() or row.resolution is not None:
                self.advance(row)
                continue
            row.place = Place.PROMOTED
            self._call_soon(row)
            promoted.append(row)
        if self._ahead and self.breaker.may_call():
            self._chain([*promoted, *self._startable, *self.calls.rows()])

    def _promote_suspect(self) -> None:
        """Have an order called alone that may be what ends workers: nobody else is at risk then."""
        if self.calls.out or self._startable:
            return
        row = self._suspects.popleft()
        if row.partition.is_leaving:
            self._suspects.append(row)
            return
        self._suspect = row
        row.place = Place.PROMOTED
        self._call_soon(row)

    def _call_soon(self, row: Row) -> None:
        row.state = "called"
        if not self._fates.looks_up(row):
            row.key_since = row.key_since or clock.now_us()
        row.partition.changed[row.number] = row

    def _chain(self, firsts: Iterable[Row]) -> None:
        """Have the orders written that follow those which are about to be called, or are.

        Whose line is longest goes first: it is what the others wait for at the end.
        """
        lines = [
            queue
            for first in firsts
            if (queue := first.partition.customers.get(first.customer_id)) is not None
            and len(queue) > 1
            and not first.partition.is_leaving
        ]
        for queue in sorted(lines, key=len, reverse=True):
            for row in islice(queue, 1, 1 + CHAINED):
                if self._chained >= self._ahead:
                    return
                if row.is_chained:
                    continue
                if row.state != "queued" or row.taken is None:
                    break
                self._chained += 1
                row.is_chained = True
                self._call_soon(row)

    def _take_eligible(self, room: int) -> Iterator[Row]:
        """Take out as many as there is room for, a partition after the other."""
        queues = [each for each in self.partitions.values() if each.eligible]
        taken = 0
        while queues and taken < room:
            for partition in queues:
                if taken >= room:
                    break
                if partition.is_leaving:
                    continue
                row = partition.eligible.popleft()
                if row.place is Place.ELIGIBLE:
                    taken += 1
                    yield row
            queues = [each for each in queues if each.eligible and not each.is_leaving]

    def demote(self, partition: HeldPartition) -> None:
        """Take back what was written as called and was not, since it will not be for a while."""
        for row in partition.rows.values():
            if not row.is_called or row.place is Place.OUT:
                continue
            row.is_called = False
            row.state = "queued" if row.doubtful_since is None else "doubt"
            partition.changed[row.number] = row
            if row is self._suspect:
                self._suspect = None
            if row.place is Place.STARTABLE:
                self._make_eligible(row)
            self._unchain(row)
        self._startable = deque(row for row in self._startable if row.place is Place.STARTABLE)

    def has_written(self, row: Row) -> None:
        """Note that the ledger has a row as it was when that was gathered."""
        row.is_new = False
        if row.state != "called" or row.place in {Place.OUT, Place.DONE}:
            return
        row.is_called = True
        if row.place is Place.PROMOTED:
            row.place = Place.STARTABLE
            self._startable.append(row)
            if self.is_closing or (self.breaker.is_open and not self._probes_by_calling):
                self.demote(row.partition)

    # Calls

    def start(self) -> None:
        """Start calls as long as there are slots."""
        if time.monotonic() - self._answered_at() > FRESH_SECONDS:
            return
        if self.breaker.is_open:
            self._probe()
            return
        if self.is_closing or not self.breaker.may_call():
            return
        while self._startable and self.calls.out < self._slots:
            row = self._startable.popleft()
            if row.place is not Place.STARTABLE:
                continue
            if row.was_late and self._late_out >= self._late_slots:
                row.is_called = False
                row.state = "doubt" if row.doubtful_since is not None else "queued"
                row.due = time.monotonic() + 1.0
                row.partition.changed[row.number] = row
                self.advance(row)
                continue
            self._call(row)

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
        if self._startable and self.breaker.may_probe():
            self._call(self._startable.popleft())

    def _call(self, row: Row) -> None:
        taken = row.taken
        if taken is None:  # cannot be: it was read before it was promoted
            raise RuntimeError(f"order {row.order_id} is to be called and was not read")
        if self._fates.looks_up(row) and row.late is not None and not row.late.has_ended:
            if row is self._suspect:
                self._suspect = None
            row.is_called = False
            row.state = "doubt"
            row.due = time.monotonic() + 1.0
            row.partition.changed[row.number] = row
            self.advance(row)
            return
        row.place, row.is_called = Place.OUT, False
        row.partition.out += 1
        self._late_out += row.was_late
        order = taken.order
        charge = Charge(
            order.model_copy(update={"items": tuple([item.model_copy() for item in order.items])}),
            order.total,
            self._fates.balance_of(row),
            taken.attempts + row.attempts + 1,
            f"{self._ledger_id}~{row.order_id}~{row.generation}",
            row.doubtful_since is not None,
        )
        if self._fates.looks_up(row):
            row.call = self.calls.look_up(row, charge)
        else:
            row.call = self.calls.charge(row, charge)

    def _on_end(self, call: Call, verdict: Verdict) -> None:
        """Hear how a call has ended: in time, given up, or after that."""
        row = call.row
        self._count(call, verdict)
        # The end of a call that was given up says nothing more, if it brings no answer.
        is_silence = call.is_given_up and call.has_ended and verdict.kind is Kind.DOUBT
        if not is_silence and self.breaker.note(verdict):
            self._on_breaker()
        if row is None:
            self._wake()
            return
        if row.call is call:
            row.call = None
            row.partition.out -= 1
            self._late_out -= row.was_late
            if row is self._suspect:
                self._suspect = None
            if call.is_given_up and not call.has_ended:
                row.late = call
            if row.place is Place.OUT:
                self._fates.decide(row, verdict)
            if row.place is Place.DONE and call.task is not None:
                call.task.cancel()  # it was given up, and its answer is of no use any more
        elif row.late is call:
            self._hear_late(row, call, verdict)
        self.start()
        self._wake()

    def _count(self, call: Call, verdict: Verdict) -> None:
        if call.purpose is not Purpose.PING and not (call.is_given_up and call.has_ended):
            took = time.monotonic() - call.started
            self._meter.calls.observe(int(took * clock.SECOND))
            self._meter.count("charges" if call.purpose is Purpose.CHARGE else "lookups")
        if verdict.kind is Kind.UNAVAILABLE:
            self._meter.count("unavailable")
        elif verdict.kind in {Kind.DOUBT, Kind.IN_USE, Kind.SPENT}:
            self._meter.count("doubts")

    def _hear_late(self, row: Row, call: Call, verdict: Verdict) -> None:
        """A late answer still counts, if it is one."""
        row.late = None
        if row.place is Place.DONE or call.generation != row.generation:
            return
        if call.purpose is Purpose.CHARGE and verdict.kind in {Kind.PAID, Kind.DECLINED}:
            if row.place is Place.OUT and row.call is not None:
                row.partition.out -= 1  # the other call's answer is not waited for
                self._late_out -= row.was_late
                row.call = None
            self._fates.decide(row, verdict)
        elif self._fates.looks_up(row) and row.place in {Place.TIMER, Place.ELIGIBLE}:
            self._fates.doubt(row, Verdict(Kind.DOUBT, row.reason))

    def _on_breaker(self) -> None:
        if self.breaker.is_open:
            log.warning("the gateway is away; orders wait", why=self.breaker.reason)
            for partition in self.partitions.values():
                self.demote(partition)
        else:
            log.info("the gateway is back")

    def look(self) -> None:
        """Give up late calls, and go on with what is due; to be called several times a second."""
        self.calls.look()
        now = time.monotonic()
        while self._timers and self._timers[0][0] <= now:
            _, _, row = heapq.heappop(self._timers)
            if row.place is Place.TIMER and row.due <= now:
                self.advance(row)
        self.start()

    # What Fates tells

    def _put_off(self, row: Row) -> None:
        row.is_called = False
        if row.place is Place.DONE:
            return
        if row.partition.customers[row.customer_id][0] is row:
            self.advance(row)
        else:
            row.place = Place.BEHIND

    def _remove(self, row: Row) -> None:
        """An order is settled: its customer's next one is first."""
        row.place = Place.DONE
        self._unchain(row)
        self._forget_body(row)
        following = row.partition.remove(row)
        if following is not None:
            self._unchain(following)
            self.advance(following)
        self._wake()

    def _unchain(self, row: Row) -> None:
        self._chained -= row.is_chained
        row.is_chained = False

    def _forget_body(self, row: Row) -> None:
        if row.taken is not None:
            self._bytes -= row.taken.size
            row.taken = None
