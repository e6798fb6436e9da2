"""Local mode: queue, workers and recovery of one process tree."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from typing_extensions import override

from services.pipeline.base import STOP_SECONDS, Pipeline
from services.pipeline.own_bank import OwnBank
from services.pipeline.worker_stats import WorkerStats
from services.worker.pause import Pause
from services.worker.process import Assignment
from shared.queue.local_queue import LocalQueue

if TYPE_CHECKING:
    from multiprocessing.context import SpawnProcess

    import sqlalchemy as sa

    from services.payment.heartbeat import Heartbeat
    from shared.ledger.ledger import Ledger
    from shared.queue.port import QueuePerWorker
    from shared.settings import Settings


class LocalPipeline(Pipeline):
    """A pipeline whose workers are all its own; see there for the arguments."""

    queue: QueuePerWorker

    def __init__(
        self, ledger: Ledger, settings: Settings, *, run_id: str, niceness: int = 0
    ) -> None:
        super().__init__(ledger, settings, run_id=run_id, niceness=niceness)
        self._bank = (
            OwnBank(ledger, settings, self.supervisor.context) if settings.has_own_bank else None
        )
        if self._bank is not None:
            self._settings = self._bank.for_workers
        self._pause = Pause(self.supervisor.context.RawValue("b", 0))
        self.queue = self.new_queue()

    @override
    def start(self) -> None:
        """Start it, and the bank before the workers that call it.

        Raises:
            BookUnavailable: The bank cannot keep its book.
            ConfigurationError: Another gateway than theirs has orders under way.
        """
        try:
            if self._bank is not None:
                self._bank.start()
            super().start()
        except BaseException:
            self._end_bank(at_once=True)
            raise

    @override
    def watch(self, timeout: float) -> None:
        super().watch(timeout)
        if self._bank is not None:
            with self._mishaps.survived(OSError):
                self._bank.watch()

    @override
    def drain(self) -> None:
        try:
            super().drain()
        finally:
            self._end_bank()

    @override
    def kill(self) -> None:
        try:
            super().kill()
        finally:
            self._end_bank(at_once=True)

    def new_queue(self) -> QueuePerWorker:
        """Make the queue: all that a pipeline over another one has to change."""
        return LocalQueue(
            self.supervisor.context, self._ledger.ledger_id, self._settings.payment_workers
        )

    @override
    def worker_stats(self, connection: sa.Connection | None) -> WorkerStats:
        """Sum up this process tree's workers."""
        return WorkerStats.of(self.supervisor.workers, self._entries())

    @property
    @override
    def is_paused(self) -> bool:
        return self._pause.is_on

    @override
    def pause(self, *, is_wanted: bool) -> None:
        # Workers that come later share the flag, too.
        self._pause.set(is_on=is_wanted)

    @override
    def kill_worker(self, name: str | None) -> bool:
        # Of several one that is settling is the most interesting.
        entries = [entry for entry in self._entries() if name in {None, entry.worker}]
        entries.sort(key=lambda entry: entry.state != "settling")
        for entry in entries[:1]:
            self.supervisor.condemn(entry.pid)
        return bool(entries)

    @override
    def _start_worker(self, slot: int, heartbeat: Heartbeat) -> SpawnProcess:
        deliveries = self.queue.renew(slot)
        return self.supervisor.employ(
            slot, Assignment(self._settings, heartbeat, deliveries, self._niceness, self._pause)
        )

    @override
    def _dismiss(self, deadline: float) -> None:
        """Join the queues, so that nothing is left in them; then send the end marks."""
        self.queue.join(STOP_SECONDS)
        waiting = set(range(len(self.supervisor.workers)))
        while waiting and time.monotonic() < deadline:
            waiting -= {slot for slot in waiting if self.queue.finish(slot)}

    def _end_bank(self, *, at_once: bool = False) -> None:
        """End the bank, after those who call it."""
        if self._bank is not None:
            (self._bank.kill if at_once else self._bank.stop)()

    @override
    def partitions_of(self, slot: int) -> range:
        # A worker has its own, for as long as the pipeline lasts.
        return range(slot, self._ledger.partitions, self._settings.payment_workers)
