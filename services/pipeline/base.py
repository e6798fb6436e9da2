"""What both modes share: supervised workers, recovery and housekeeping around one ledger.

The main thread supervises: it alone starts workers, and it never waits for a lock that a worker may
hold. What writes to the ledger now and then (nudges, the registry) has a thread of its own.
"""

from __future__ import annotations

import socket
import time
from abc import ABC, abstractmethod
from functools import partial
from typing import TYPE_CHECKING

from services.payment.consumer import worker_name
from services.pipeline import recovery
from services.pipeline.housekeeping import SILENCE, Housekeeping
from services.pipeline.supervisor import Supervisor
from shared import clock
from shared.errors import OrderlyError
from shared.ledger import workers as registry
from shared.ledger.gateways import claim_gateway
from shared.ledger.settlement import record_failure
from shared.logs import Logger
from shared.resilience import Mishaps

if TYPE_CHECKING:
    from collections.abc import Iterable
    from multiprocessing.context import SpawnProcess

    import sqlalchemy as sa

    from services.payment.heartbeat import Heartbeat
    from services.pipeline.slots import Loss
    from services.pipeline.worker_stats import WorkerStats
    from shared.errors import LedgerUnavailable
    from shared.ledger.ledger import Ledger
    from shared.queue.port import OrderQueue
    from shared.settings import Settings

STOP_SECONDS = 5.0

log = Logger("pipeline")


class Pipeline(ABC):
    """Everything of a service but the source of its orders.

    Args:
        ledger: What is paid from.
        settings: How many workers, and how they work.
        run_id: Names this pipeline in the registry of workers.
        niceness: How far workers stand back for the source where processors are short. They
            lose little by it: the more is waiting, the larger are their batches.

    Attributes:
        queue: Where intake puts its messages.
        supervisor: Keeps the payment workers.
        nudges: How many were sent.
        is_alone: Whether nobody but its workers settles what is accepted here.
    """

    queue: OrderQueue
    is_alone = True

    def __init__(
        self, ledger: Ledger, settings: Settings, *, run_id: str, niceness: int = 0
    ) -> None:
        self._ledger = ledger
        self._niceness = niceness
        self._settings = settings
        self._run_id = run_id
        self.nudges = 0
        self.supervisor = Supervisor(
            self._start_worker, stall_after=settings.stall_after, on_loss=self._lost
        )
        tasks = (self._settle_doubt, self._sweep, self._report)
        self._housekeeping = Housekeeping(tasks, min(0.5, settings.redrive_after / 2))
        self._mishaps = Mishaps(log, "supervision failed")

    def start(self) -> None:
        """Start the workers, and nudge what earlier runs left open.

        Raises:
            ConfigurationError: Another gateway than theirs has orders under way.
        """
        if self._settings.payment_workers:
            claim_gateway(self._ledger, self._settings.payment_gateway)
        self.supervisor.start(self._settings.payment_workers)
        self._nudge_open()
        self._housekeeping.start()

    def watch(self, timeout: float) -> None:
        """Supervise for up to ``timeout`` seconds; call it again and again from the main thread.

        Raises:
            WorkersFailed: Workers end before they are ready.
        """
        with self._mishaps.survived(OrderlyError):
            self.supervisor.watch(timeout)
            self.queue.flush()
        self._mishaps.wait()

    def check(self) -> None:
        """Raise what leaves no hope.

        Raises:
            LedgerUnavailable: The ledger has not been writable for a while.
        """
        self._housekeeping.check()

    @abstractmethod
    def worker_stats(self, connection: sa.Connection | None) -> WorkerStats | None:
        """Sum up the payment workers that this service can see, without the ledger if need be."""

    @property
    @abstractmethod
    def is_paused(self) -> bool:
        """Whether its consumers are paused.

        Raises:
            QueueUnavailable: Nobody knows.
        """

    @abstractmethod
    def pause(self, *, is_wanted: bool) -> None:
        """Pause the consumers, or let them go on.

        Raises:
            QueueUnavailable: They cannot be told.
        """

    @abstractmethod
    def kill_worker(self, name: str | None) -> bool:
        """Have a worker killed, or any one; say whether there is such a worker.

        Raises:
            QueueUnavailable: It cannot be told.
        """

    @property
    def queue_trouble(self) -> str | None:
        """Why the server of the queue does not carry, if so; orders are taken in all the same."""
        return None

    @property
    def is_gateway_away(self) -> bool:
        """Whether one of its workers finds that an outside gateway does not answer."""
        return any(each.heartbeat.is_gateway_away for each in self.supervisor.workers)

    @property
    def depth(self) -> int:
        """Messages on the queue."""
        return self.queue.depth()

    @property
    def trouble(self) -> str | None:
        """Why orders cannot be taken in or settled at present, if so."""
        if self.supervisor.deserted > SILENCE:
            return "no payment worker can be started; see the log"
        return self._housekeeping.trouble

    def note_write(self, error: LedgerUnavailable | None) -> None:
        """Note whether intake could write to the ledger when it last tried."""
        self._housekeeping.doubt(error)

    def drain(self) -> None:
        """End in order: workers finish what they have in hand, and are reaped."""
        patience = STOP_SECONDS
        if self._settings.payment_gateway != "ledger":
            patience += self._settings.gateway_timeout  # for calls that are out
        deadline = time.monotonic() + patience
        self._dismiss(deadline)
        self.supervisor.stop(max(0.0, deadline - time.monotonic()))
        self._shut()

    def kill(self) -> None:
        """End at once. What is open stays in the journal."""
        self.supervisor.kill()
        self._shut()

    @abstractmethod
    def _start_worker(self, slot: int, heartbeat: Heartbeat) -> SpawnProcess:
        """Start a worker's process."""

    @abstractmethod
    def _dismiss(self, deadline: float) -> None:
        """Tell the workers to end."""

    @abstractmethod
    def partitions_of(self, slot: int) -> Iterable[int] | None:
        """Whose messages may be lost with a worker; None where that cannot be known."""

    def _shut(self) -> None:
        self._housekeeping.stop(self._leave)
        self.queue.close()

    def _lost(self, loss: Loss) -> None:
        theirs = self.partitions_of(loss.slot)
        if theirs is None:
            self._housekeeping.ask(self._nudge_open)
        else:
            self.queue.nudge(theirs)
            self.nudges += len(list(theirs))
        if loss.culprit is not None:
            # A batch that crashes its worker would crash the next one, too: have it counted.
            self._housekeeping.ask(
                partial(
                    record_failure,
                    self._ledger,
                    loss.culprit,
                    f"its worker {loss.why}",
                    batch_size=self._settings.batch_size,
                )
            )

    def _nudge_open(self) -> None:
        self.nudges += len(recovery.nudge_open(self._ledger, self.queue))

    def _settle_doubt(self) -> None:
        self._housekeeping.settle_doubt(partial(registry.try_writing, self._ledger))

    def _sweep(self) -> None:
        swept = recovery.sweep(self._ledger, self.queue, self._settings.redrive_after)
        self.nudges += len(swept)

    def _leave(self) -> None:
        if self.supervisor.workers:
            self._report()  # what they have measured up to their end
            registry.report(self._ledger, self._run_id, [])

    def _report(self) -> None:
        if not self.supervisor.workers:
            return
        meters = [worker.meter for worker in self.supervisor.workers]
        registry.report(self._ledger, self._run_id, self._entries(), meters)

    def _entries(self) -> list[registry.WorkerEntry]:
        now, host, depth = clock.now_us(), socket.gethostname(), self.queue.depth()
        return [
            registry.WorkerEntry(
                worker=worker_name(each.process.pid or 0),
                run_id=self._run_id,
                slot=each.slot,
                host=host,
                pid=each.process.pid or 0,
                state=each.state,
                queue_depth=depth if each.slot == 0 else 0,
                restarts=each.restarts,
                settled=each.meter.settled,
                started_at=now - int((time.monotonic() - each.started) * clock.SECOND),
                seen_at=now,
                partition=each.heartbeat.last_partition,
                calls_out=each.heartbeat.calls_out,
            )
            for each in self.supervisor.workers
        ]
