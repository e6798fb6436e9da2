"""Redis mode: any number of producers and workers, on any number of machines, around one ledger."""

from __future__ import annotations

from typing import TYPE_CHECKING

from services.crew import Crew
from services.payment.worker import Assignment
from services.pipeline import Pipeline
from shared.ledger.workers import reported
from shared.queue.redis_queue import RedisQueue

if TYPE_CHECKING:
    from multiprocessing.context import SpawnProcess

    import sqlalchemy as sa

    from services.payment.vitals import Vitals
    from shared.ledger.opening import Ledger
    from shared.settings import Settings


class ScaledPipeline(Pipeline):
    """A pipeline that shares its queue with others; it may have no worker of its own.

    See the base class for the arguments.
    """

    queue: RedisQueue
    is_alone = False

    def __init__(
        self, ledger: Ledger, settings: Settings, *, run_id: str, niceness: int = 0
    ) -> None:
        super().__init__(ledger, settings, run_id=run_id, niceness=niceness)
        self.queue = RedisQueue(settings.redis_url, ledger.ledger_id)

    def start(self) -> None:
        """See the base class.

        Raises:
            QueueUnavailable: Redis refuses the password.
        """
        self.queue.check()
        super().start()

    def watch(self, timeout: float) -> None:
        """See the base class.

        Raises:
            QueueUnavailable: Redis was never there.
        """
        super().watch(timeout)
        self.queue.check()

    def crew(self, connection: sa.Connection | None) -> Crew | None:
        """Sum up all workers that have been reported, wherever they run."""
        return None if connection is None else Crew.reported(reported(connection))

    def _start_worker(self, slot: int, vitals: Vitals) -> SpawnProcess:
        return self.supervisor.spawn(
            slot, Assignment(self._settings, vitals, niceness=self._niceness)
        )

    def _dismiss(self, deadline: float) -> None:  # noqa: ARG002
        """Have the workers take no more jobs; what they leave is for others, or for later."""
        self.supervisor.terminate()

    def _partitions_of(self, slot: int) -> None:
        """Any worker takes messages of any partition."""
