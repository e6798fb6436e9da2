"""The line of orders before their calls: each customer's first, as far as it has come.

An order waits for its time, is read again if its body was dropped, is written as ``called``, and is
startable then. Those that follow a customer's first may be written ahead, and start as that ends.
"""

from __future__ import annotations

import heapq
import time
from collections import deque
from itertools import count, islice
from typing import TYPE_CHECKING

from services.payment.charging.book import Place
from services.payment.charging.fates import ALONE_FROM
from shared import clock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from services.payment.charging.book import HeldPartition, Row
    from services.payment.charging.fates import Fates
    from shared.ledger.taking import Taken

CHAINED = 8
"""Most orders of a customer that are written ahead, behind the one that is called."""

BODY_BYTES = 8 * 2**20
"""How many bytes of orders are kept that wait for others; the rest is read again."""


class Line:
    """Keeps the line of a worker's orders.

    Args:
        partitions: Those that are held.
        ahead: Most orders that are written ahead behind others.
        wake: Says that there is something to write or to read.

    Attributes:
        fates: Settles what needs no call; to be set before the first order comes.
        startable: Orders that may be called at once: the ledger knows. Some may be settled by now.
        suspects: Orders that are to be called alone.
        suspect: The one of them whose turn it is.
        unread: Orders whose bodies are to be read again.
    """

    fates: Fates

    def __init__(
        self, partitions: Mapping[int, HeldPartition], ahead: int, wake: Callable[[], None]
    ) -> None:
        self._partitions = partitions
        self._ahead = ahead
        self._wake = wake
        self._timers: list[tuple[float, int, Row]] = []
        self._order = count()
        self._chained = 0
        self._bytes = 0
        self._served = -1
        self.startable: deque[Row] = deque()
        self.suspects: deque[Row] = deque()
        self.suspect: Row | None = None
        self.unread: list[Row] = []

    # Orders come and go

    def add(self, row: Row) -> None:
        """Take in an order that was taken up now."""
        if row.taken is not None:
            self._bytes += row.taken.size
        if row.partition.add(row):
            self.advance(row)
        elif self._bytes > BODY_BYTES:
            self._forget_body(row)

    def has_read(self, row: Row, taken: Taken) -> None:
        """Note that an order was read again."""
        if row.place is Place.UNREAD:
            row.taken = taken
            self._bytes += taken.size
            self.advance(row)

    def remove(self, row: Row) -> None:
        """Take out an order that is settled: its customer's next one is first."""
        row.place = Place.DONE
        self._forget(row)
        following = row.partition.remove(row)
        if following is not None:
            self._unchain(following)
            self.advance(following)
        self._wake()

    def drop(self, partition: HeldPartition) -> None:
        """Forget the orders of a partition."""
        for row in partition.rows.values():
            row.place = Place.DONE
            self._forget(row)
        self.startable = deque(row for row in self.startable if row.place is not Place.DONE)
        self.suspects = deque(row for row in self.suspects if row.place is not Place.DONE)
        self.unread = [row for row in self.unread if row.place is not Place.DONE]

    def in_turn(self) -> list[HeldPartition]:
        """The partitions in which something may begin, whose turn is next first."""
        numbers = sorted(self._partitions, key=lambda number: (number <= self._served, number))
        found = [self._partitions[number] for number in numbers]
        return [each for each in found if not each.is_leaving]

    def next_startable(self) -> Row | None:
        """Take out the order that is to be called now."""
        while self.startable:
            row = self.startable.popleft()
            if row.place is Place.STARTABLE:  # else its late answer has come
                return row
        return None

    # Towards a call

    def advance(self, row: Row) -> None:
        """Bring a customer's first order as far as it goes."""
        if row.taken is None:
            row.place = Place.UNREAD
            self.unread.append(row)
            self._wake()
        elif row.resolution is None and row.due > time.monotonic():
            row.place = Place.TIMER
            heapq.heappush(self._timers, (row.due, next(self._order), row))
        elif self.fates.without_call(row):
            return
        elif row.is_called:
            self._make_startable(row)
        else:
            self._make_eligible(row)

    def put_off(self, row: Row) -> None:
        """Go on with an order at its ``due``; it was called, or is not to be for now."""
        row.is_called = False
        self._clear(row)
        if row.place is Place.DONE:
            return
        if row.partition.customers[row.customer_id][0] is row:
            self.advance(row)
        else:
            row.place = Place.BEHIND

    def postpone(self, row: Row, seconds: float) -> None:
        """Take back that an order may be called, for a while."""
        row.state = row.state_at_rest
        row.due = time.monotonic() + seconds
        row.partition.changed[row.number] = row
        self.put_off(row)

    def go_on(self) -> None:
        """Go on with those whose time has come."""
        now = time.monotonic()
        while self._timers and self._timers[0][0] <= now:
            _, _, row = heapq.heappop(self._timers)
            if row.place is Place.TIMER and row.due <= now:
                self.advance(row)

    def promote(self, room: int) -> list[Row]:
        """Choose whom to call next, as many as there is room for, and have that written."""
        promoted: list[Row] = []
        for row in self._take_eligible(room):
            if row.due > time.monotonic() or row.resolution is not None:
                self.advance(row)
                continue
            self._promote(row)
            promoted.append(row)
        return promoted

    def promote_suspect(self) -> None:
        """Have an order called that may be what ends workers: nobody else may be at risk then."""
        for _ in range(len(self.suspects)):
            row = self.suspects.popleft()
            if row.place is not Place.ELIGIBLE:
                continue
            if not row.partition.is_leaving:
                self.suspect = row
                self._promote(row)
                return
            self.suspects.append(row)

    def chain(self, firsts: Iterable[Row]) -> None:
        """Have the orders written that follow those which are about to be called, or are.

        Whose line is longest goes first: it is what the others wait for at the end.
        """
        queues = [
            queue
            for first in firsts
            if (queue := first.partition.customers.get(first.customer_id)) is not None
            and len(queue) > 1
            and not first.partition.is_leaving
        ]
        for queue in sorted(queues, key=len, reverse=True):
            for row in islice(queue, 1, 1 + CHAINED):
                if self._chained >= self._ahead:
                    return
                if row.is_chained:
                    continue
                if row.state != "queued" or row.taken is None:
                    break
                self._chained += 1
                row.is_chained = True
                self._write_as_called(row)

    def has_written(self, row: Row) -> None:
        """Note that the ledger has a row as it was when that was gathered."""
        if row.state == "called" and row.place not in {Place.OUT, Place.DONE}:
            row.is_called = True
            if row.place is Place.PROMOTED:
                self._make_startable(row)

    def demote(self, partition: HeldPartition) -> None:
        """Take back what was written as called and was not, since it will not be for a while."""
        for row in partition.rows.values():
            if not row.is_called:
                continue
            row.is_called = False
            row.state = row.state_at_rest
            partition.changed[row.number] = row
            self._clear(row)
            self._unchain(row)
            if row.place is Place.STARTABLE:
                self._make_eligible(row)
        self.startable = deque(row for row in self.startable if row.place is Place.STARTABLE)

    # Inside

    def _make_startable(self, row: Row) -> None:
        row.place = Place.STARTABLE
        self.startable.append(row)

    def _make_eligible(self, row: Row) -> None:
        row.place = Place.ELIGIBLE
        (self.suspects if row.crashes >= ALONE_FROM else row.partition.eligible).append(row)
        self._wake()

    def _take_eligible(self, room: int) -> Iterator[Row]:
        """Take out as many as there is room for, a partition after the other."""
        queues = [each for each in self.in_turn() if each.eligible]
        taken = 0
        while queues and taken < room:
            for partition in queues[: room - taken]:
                row = partition.eligible.popleft()
                if row.place is Place.ELIGIBLE:
                    taken += 1
                    self._served = partition.number
                    yield row
            queues = [each for each in queues if each.eligible]

    def _promote(self, row: Row) -> None:
        row.place = Place.PROMOTED
        self._write_as_called(row)

    def _write_as_called(self, row: Row) -> None:
        row.state = "called"
        if not self.fates.looks_up(row):
            row.key_since = row.key_since or clock.now_us()
        row.partition.changed[row.number] = row

    def _forget(self, row: Row) -> None:
        self._clear(row)
        self._unchain(row)
        self._forget_body(row)

    def _clear(self, row: Row) -> None:
        if row is self.suspect:
            self.suspect = None

    def _unchain(self, row: Row) -> None:
        self._chained -= row.is_chained
        row.is_chained = False

    def _forget_body(self, row: Row) -> None:
        if row.taken is not None:
            self._bytes -= row.taken.size
            row.taken = None
