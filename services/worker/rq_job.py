"""What RQ calls: the one job there is, and the queue that lets no other in."""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from redis.exceptions import ResponseError
from rq import Queue
from rq.defaults import RQ_KEY_PREFIX
from rq.exceptions import NoSuchJobError
from rq.job import JOB_ID_PATTERN, JobStatus
from rq.results import Result
from rq.utils import current_timestamp, now, utcformat
from typing_extensions import override

from services.payment.next_batch import Delivery
from shared.logs import Logger
from shared.queue.closed_job import FAILURE_TTL, ClosedJob, Refused, evidence
from shared.texts import said, shown

if TYPE_CHECKING:
    from collections.abc import Callable

    from services.payment.consumer import Consumer

_LEAST_WAIT = 0.01
"""Redis takes a wait of 0 seconds for one without an end, and before 7.0 one of 0.001, too."""

log = Logger("payment")

at_work: ContextVar[Consumer] = ContextVar("at_work")
"""Who settles in this process; RQ calls a function, and has no place for an object."""


def settle_batch(message: str) -> None:
    """Settle what a queue message, the text of an encoded ``OrderBatch``, points to.

    Trouble with the ledger is no failure of the job: the worker comes back to the partition.

    Raises:
        Refused: The message does not say where to look.
    """
    if at_work.get().follow(message.encode()) is Delivery.UNREADABLE:
        raise Refused("carries a message that is no OrderBatch of this version")


class PaymentJob(ClosedJob):
    """A closed job at the end where it is run."""

    @property
    @override
    def func(self) -> Callable[[str], None]:
        """The one function there is; nothing is looked up by name."""
        return settle_batch


class PaymentQueue(Queue):
    """A ledger's queue at the consumers' end: what is not one of our jobs is refused here."""

    def take(self, timeout: float) -> PaymentJob | None:
        """Take the next job; None after ``timeout`` seconds, or if what came was refused.

        Raises:
            RedisError: Redis is away.
        """
        connection: Any = self.connection
        entry: bytes | None = connection.blmove(
            self.key, self.intermediate_queue_key, max(_LEAST_WAIT, timeout)
        )
        if entry is None:
            return None
        job = self._read(entry)
        if job is None:
            connection.lrem(self.intermediate_queue_key, 1, entry)
        return job

    def recover(self) -> None:
        """Send jobs again whose workers died over them; those that had that too often fail.

        In place of RQ's own: that gives up at the first entry which a stranger has left.

        Raises:
            RedisError: Redis is away.
        """
        connection: Any = self.connection
        key = self.started_job_registry.key
        for entry in connection.zrangebyscore(key, 0, current_timestamp()):
            job = self._read(entry.partition(b":")[0])
            with connection.pipeline() as pipeline:
                pipeline.zrem(key, entry)
                if job is not None and job.get_status(refresh=False) is JobStatus.STARTED:
                    if job.retries_left:
                        job.retry(self, pipeline)
                    else:
                        self.fail(job.id, "was abandoned: its worker died, once too often")
                pipeline.execute()

    def _read(self, entry: bytes) -> PaymentJob | None:
        """Fetch a job by its id; None if there is none, or if it was refused."""
        job_id = entry.decode(errors="replace")
        if not JOB_ID_PATTERN.fullmatch(job_id):
            log.warning("queue entry dropped", entry=shown(entry[:80]), why="it is no job's id")
            return None
        job = PaymentJob(job_id, self.connection)
        try:
            job.refresh()  # type: ignore[no-untyped-call]
        except Refused as refusal:
            self.fail(job_id, str(refusal))
        except (NoSuchJobError, ResponseError) as error:
            # There is no hash that could be kept.
            log.warning("queue entry dropped", entry=job_id, why=said(error))
        else:
            if job.origin == self.name:
                return job
            self.fail(job_id, "is another queue's")
        return None

    def fail(self, job_id: str, reason: str) -> None:
        """Put a job into RQ's failed registry; nothing of it is run, and little of it is kept.

        Raises:
            RedisError: Redis is away.
        """
        log.warning("job refused", job=job_id, why=reason)
        job = PaymentJob(job_id, self.connection)
        data: Any = self.connection.hget(job.key, "data")
        at = utcformat(now())
        # In place of the stranger's fields, which RQ's other programs might follow or choke on.
        failed: dict[Any, Any] = {
            "status": JobStatus.FAILED.value,
            "exc_info": reason,
            "origin": self.name,
            "created_at": at,
            "ended_at": at,
            "data": evidence(data) if data else b"",
        }
        with self.connection.pipeline() as pipeline:
            pipeline.delete(job.key)
            pipeline.delete(f"{RQ_KEY_PREFIX}:results:{job_id}")
            pipeline.hset(job.key, mapping=failed)
            pipeline.expire(job.key, FAILURE_TTL)
            pipeline.zadd(self.failed_job_registry.key, {job_id: current_timestamp() + FAILURE_TTL})
            Result.create_failure(job, FAILURE_TTL, reason, pipeline=pipeline)
            pipeline.execute()
