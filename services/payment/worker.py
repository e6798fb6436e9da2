"""A payment consumer: the loop from the queue to settlement, and the process around it."""

from __future__ import annotations

import os
import socket
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from services.payment.gateway import load_gateway
from services.payment.settle import Settler, Stint
from services.payment.work import Delivery
from services.process import follow_parent, leave_signals_to_parent
from shared.errors import LedgerUnavailable, OrderlyError
from shared.ledger.opening import open_ledger
from shared.ledger.settlement import record_failure
from shared.logs import Logger, set_up_logs
from shared.metrics import Meter
from shared.queue.port import Deliveries, EndOfQueue
from shared.schema import tune_gc

if TYPE_CHECKING:
    from collections.abc import Callable

    from shared.settings import Settings

    Trouble = Callable[[int | None, str], None]

T = TypeVar("T")

log = Logger("payment")

IDLE_SECONDS = 0.25
"""The longest wait for a message: so often a worker shows that it is alive."""

TROUBLE_SECONDS = 0.5
"""The wait after trouble with the ledger or a batch, before the partition is tried again."""

_STRANGE = (Delivery.FORGED, Delivery.FOREIGN, Delivery.UNREADABLE)


class Vitals:
    """A worker's signs of life, in memory that it shares with its supervisor.

    Args:
        shared: Integers: beats, the partition at work plus one, and the meter's.

    Attributes:
        meter: What the worker measures.
    """

    SIZE = 2 + Meter.SIZE

    def __init__(self, shared: Any) -> None:  # noqa: ANN401  ctypes arrays are untyped
        self._shared = shared
        self.meter = Meter(shared, 2)

    def working(self, partition: int) -> None:
        """Show that the worker makes progress on a partition."""
        self._shared[0] += 1
        self._shared[1] = partition + 1

    def waiting(self) -> None:
        """Show that the worker is there, and waits for work."""
        self._shared[0] += 1
        self._shared[1] = 0

    @property
    def beats(self) -> int:
        """Signs of life so far."""
        return int(self._shared[0])

    @property
    def partition(self) -> int | None:
        """The partition at work."""
        return int(self._shared[1]) - 1 if self._shared[1] else None


class Agenda:
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


class Consumer:
    """Takes messages and settles what they point to, until the queue ends."""

    def __init__(
        self, deliveries: Deliveries, settler: Settler, vitals: Vitals, trouble: Trouble
    ) -> None:
        self._deliveries = deliveries
        self._settler = settler
        self._vitals = vitals
        self._trouble = trouble
        self._agenda = Agenda()
        self._is_in_trouble = False

    def run(self) -> None:
        """Work until the end mark comes."""
        while True:
            self._vitals.waiting()
            try:
                message = self._deliveries.receive(self._agenda.wait(IDLE_SECONDS))
            except EndOfQueue:
                return
            if message is not None:
                self._visit(self._settler.settle, message)
                self._deliveries.done()
            if (partition := self._agenda.pop()) is not None:
                self._visit(self._settler.settle_partition, partition)

    def _visit(self, settle: Callable[[T], Stint], target: T) -> None:
        try:
            stint = settle(target)
        except LedgerUnavailable as error:
            if not self._is_in_trouble:
                self._is_in_trouble = True  # said once, until it is over
                log.warning("ledger unavailable", error=str(error))
            self._come_back()
        except Exception as error:
            # Not the gateway's doing, which settlement deals with: a bug, or a damaged ledger.
            log.exception("batch failed", partition=self._vitals.partition)
            self._trouble(self._vitals.partition, f"{type(error).__name__}: {error}")
            self._come_back()
        else:
            self._is_in_trouble = False
            if stint.delivery in _STRANGE:
                log.warning("message refused", kind=stint.delivery, partition=stint.partition)
            if stint.partition is not None and stint.due is not None:
                self._agenda.add(stint.partition, stint.due)

    def _come_back(self) -> None:
        partition = self._vitals.partition
        if partition is not None:
            self._agenda.add(partition, time.monotonic() + TROUBLE_SECONDS)


@dataclass(frozen=True)
class Assignment:
    """What a worker's process is started with.

    Attributes:
        settings: The settings of the process that starts it.
        deliveries: Its end of the queue.
        vitals: Where it shows that it is alive.
        niceness: How far it stands back where processors are short.
    """

    settings: Settings
    deliveries: Deliveries
    vitals: Vitals
    niceness: int = 0


def worker_name(pid: int) -> str:
    """Name a worker, as outcomes and the registry do: host and process id."""
    return f"{socket.gethostname()}:{pid}"


def main(assignment: Assignment) -> None:
    """Be a payment worker: what a supervisor starts as a process of its own."""
    follow_parent()
    leave_signals_to_parent()
    os.nice(assignment.niceness)
    settings, vitals = assignment.settings, assignment.vitals
    set_up_logs(settings)
    try:
        ledger = open_ledger(settings, create=False)
        gateway = load_gateway(settings)
    except OrderlyError as error:
        log.warning("worker cannot start", error=str(error))
        raise SystemExit(error.exit_code) from None
    settler = Settler(
        ledger,
        gateway,
        worker=worker_name(os.getpid()),
        batch_size=settings.batch_size,
        max_attempts=settings.max_attempts,
        on_progress=vitals.working,
        meter=vitals.meter,
    )

    def trouble(partition: int | None, reason: str) -> None:
        if partition is not None:
            with suppress(LedgerUnavailable):
                record_failure(ledger, partition, reason, batch_size=settings.batch_size)

    tune_gc()
    Consumer(assignment.deliveries, settler, vitals, trouble).run()
