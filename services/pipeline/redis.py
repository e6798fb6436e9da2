"""Redis mode: any number of producers and workers, on any number of machines, around one ledger."""

from __future__ import annotations

from typing import TYPE_CHECKING

from typing_extensions import override

from services.pipeline.base import Pipeline
from services.pipeline.worker_stats import WorkerStats
from services.worker.process import Assignment
from shared.ledger.workers import present, reported
from shared.queue.controls import Controls
from shared.queue.redis_queue import RedisQueue

if TYPE_CHECKING:
    from multiprocessing.context import SpawnProcess

    import sqlalchemy as sa

    from services.payment.heartbeat import Heartbeat
    from shared.ledger.ledger import Ledger
    from shared.settings import Settings


class RedisPipeline(Pipeline):
    """A pipeline that shares its queue with others; it may have no worker of its own.

    See the base class for the arguments.
    """

    queue: RedisQueue
    is_alone = False

    def __init__(
        self, ledger: Ledger, settings: Settings, *, run_id: str, niceness: int = 0
    ) -> None:
        super().__init__(ledger, settings, run_id=run_id, niceness=niceness)
        url, password_file = settings.redis_url, settings.redis_password_file
        self.queue = RedisQueue(url, ledger.ledger_id, password_file)
        self._controls = Controls(url, ledger.ledger_id, password_file)

    @override
    def start(self) -> None:
        """Start it, once Redis has been asked how it is.

        Raises:
            QueueUnavailable: Redis refuses what will not pass.
        """
        self.queue.check()
        super().start()
        self.queue.watch()

    @override
    def watch(self, timeout: float) -> None:
        """Supervise, and look whether there is hope of Redis.

        Raises:
            QueueUnavailable: Redis was never well.
            WorkersFailed: Workers end before they are ready.
        """
        super().watch(timeout)
        self.queue.check()

    @override
    def worker_stats(self, connection: sa.Connection | None) -> WorkerStats | None:
        """Sum up all workers that have been reported, wherever they run."""
        return None if connection is None else WorkerStats.reported(reported(connection))

    @property
    @override
    def is_paused(self) -> bool:
        # Redis is asked only where somebody could have paused them.
        return self._settings.chaos and self._controls.is_paused()

    @override
    def pause(self, *, is_wanted: bool) -> None:
        self._controls.pause(is_wanted=is_wanted)

    @override
    def kill_worker(self, name: str | None) -> bool:
        there = {entry.worker for entry in self._ledger.database.ask(present)}
        if not there or name not in {None, *there}:
            return False
        self._controls.kill(name)
        return True

    @property
    @override
    def queue_trouble(self) -> str | None:
        return self.queue.trouble

    @override
    def _start_worker(self, slot: int, heartbeat: Heartbeat) -> SpawnProcess:
        return self.supervisor.employ(
            slot, Assignment(self._settings, heartbeat, niceness=self._niceness)
        )

    @override
    def _dismiss(self, deadline: float) -> None:
        """Have the workers take no more jobs; what they leave is for others, or for later."""
        self.supervisor.terminate()

    @override
    def partitions_of(self, slot: int) -> None:
        """None: any worker takes messages of any partition."""
