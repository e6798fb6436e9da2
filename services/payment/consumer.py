"""A payment consumer: settles where a message sends it, and comes back where it has to."""

from __future__ import annotations

import os
import socket
import sys
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Protocol, TypeVar

from services.payment.next_batch import Delivery
from shared.errors import LedgerUnavailable
from shared.ledger.settlement import record_failure
from shared.logs import Logger
from shared.resilience import Mishaps
from shared.texts import legible, of_error

if TYPE_CHECKING:
    from collections.abc import Callable

    from services.payment.heartbeat import Heartbeat
    from services.payment.settle import Visit
    from shared.ledger.ledger import Ledger

T = TypeVar("T")

log = Logger("payment")

NO_ROOM = os.EX_TEMPFAIL
"""The exit code of a worker that has no room: no threads, no descriptors, no memory."""

IDLE_SECONDS = 0.25
"""The longest wait for a message: so often a worker shows that it is alive."""

SPENT_SECONDS = 2.0

TROUBLE_SECONDS = 0.5
"""The wait after trouble with the ledger or a batch, before the partition is tried again."""

REFUSED = (Delivery.FORGED, Delivery.FOREIGN, Delivery.UNREADABLE)
"""Messages that no producer of this ledger has sent."""


OUTAGES = (LedgerUnavailable, OSError, MemoryError)
"""Trouble of the ledger, or of this machine: no order is at fault, and it is tried again."""


def worker_name(pid: int) -> str:
    """Name a worker, as outcomes and the registry do: host and process id."""
    return f"{legible(socket.gethostname(), 64)}:{pid}"


class RetrySchedule:
    """Partitions to come back to, each at its time."""

    def __init__(self) -> None:
        self._due: dict[int, float] = {}

    def add(self, partition: int, due: float) -> None:
        """Come back to a partition at ``due`` (monotonic seconds); a later call replaces it."""
        self._due[partition] = due

    def wait(self, longest: float) -> float:
        """Seconds until the next one is due, at most ``longest``."""
        if not self._due:
            return longest
        return min(longest, max(0.0, min(self._due.values()) - time.monotonic()))

    def pop(self) -> int | None:
        """Take out a partition that is due, the one that has waited longest."""
        if not self._due:
            return None
        partition = min(self._due, key=self._due.__getitem__)
        if self._due[partition] > time.monotonic():
            return None
        del self._due[partition]
        return partition


class Room:
    """Watches whether this process can open one file more."""

    def __init__(self) -> None:
        self._spent_since: float | None = None

    def leave_if_spent(self) -> None:
        """Make way for another worker where this one has no descriptor left, and will get none.

        A gateway of one's own may leak them; that looks like trouble of the ledger.
        """
        now = time.monotonic()
        if _has_room():
            self._spent_since = None
        elif self._spent_since is None:
            self._spent_since = now
        elif now - self._spent_since > SPENT_SECONDS:
            why = "it has no descriptor left to open a file with (ulimit -n)"
            log.warning("worker makes way for another one", why=why)
            sys.stderr.flush()
            os._exit(NO_ROOM)


class Visitor(Protocol):
    """What goes where a message points to, or when a partition is due."""

    def settle(self, message: bytes) -> Visit:
        """Go where a message points to."""

    def settle_partition(self, partition: int) -> Visit:
        """Go to a partition."""


class Consumer:
    """Visits partitions and settles them, whatever goes wrong.

    Args:
        ledger: Where failures of whole batches are counted.
        settler: What settles.
        heartbeat: Tells which partition is at work.
        batch_size: Most orders that are settled at once.

    Attributes:
        schedule: Where to come back to.
    """

    def __init__(
        self, ledger: Ledger, settler: Visitor, heartbeat: Heartbeat, *, batch_size: int
    ) -> None:
        self._ledger = ledger
        self._settler = settler
        self._heartbeat = heartbeat
        self._batch_size = batch_size
        self._room = Room()
        self._is_in_trouble = False
        self._failures = Mishaps(log, "batch failed")
        self._mishaps = Mishaps(log, "failure not counted")
        self.schedule = RetrySchedule()

    def follow(self, message: bytes) -> Delivery | None:
        """Settle where a message points to; say what it was, if that came out."""
        return self._visit(self._settler.settle, message)

    def come_back(self) -> None:
        """Settle a partition that is due by now, if one is."""
        if (partition := self.schedule.pop()) is not None:
            self._visit(self._settler.settle_partition, partition)

    def _visit(self, settle: Callable[[T], Visit], target: T) -> Delivery | None:
        try:
            visit = settle(target)
        except OUTAGES as error:
            if not self._is_in_trouble:
                self._is_in_trouble = True  # said once, until it is over
                log.warning("ledger unavailable", error=str(error) or type(error).__name__)
            self._room.leave_if_spent()
            self._try_again()
            return None
        except Exception as error:  # noqa: BLE001  a bug, or a damaged ledger
            # Not the gateway's doing, which settlement deals with.
            self._failures.meet(error, partition=self._heartbeat.partition)
            # The driver's own words: SQLAlchemy's go on with the statement.
            self._count_failure(of_error(getattr(error, "orig", None) or error))
            self._try_again()
            return None
        self._is_in_trouble = False
        if visit.delivery in REFUSED:
            log.warning("message refused", kind=visit.delivery, partition=visit.partition)
        if visit.partition is not None and visit.due is not None:
            self.schedule.add(visit.partition, visit.due)
        return visit.delivery

    def _count_failure(self, reason: str) -> None:
        partition = self._heartbeat.partition
        if partition is not None:
            # What failed the batch may fail this, too; then the partition is tried again as it is.
            with suppress(LedgerUnavailable), self._mishaps.survived(LedgerUnavailable):
                record_failure(self._ledger, partition, reason, batch_size=self._batch_size)

    def _try_again(self) -> None:
        partition = self._heartbeat.partition
        if partition is not None:
            self.schedule.add(partition, time.monotonic() + TROUBLE_SECONDS)


def _has_room() -> bool:
    """Whether this process can open one file more."""
    try:
        os.close(os.open(os.devnull, os.O_RDONLY))
    except OSError:
        return False
    return True
