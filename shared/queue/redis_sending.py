"""How messages become RQ's jobs, on a Redis of whatever kind."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rq import Queue, Retry
from rq.serializers import JSONSerializer
from typing_extensions import override

from shared.queue.closed_job import FAILURE_TTL, FUNCTION, JOB_TIMEOUT, REDELIVERIES, ClosedJob
from shared.queue.redis_connection import is_loose
from shared.queue.redis_keys import CLAIM, queue_name

if TYPE_CHECKING:
    import redis
    from rq.queue import EnqueueData

    from shared.schema import Message


def rq_queue(
    connection: redis.Redis, ledger_id: str, queue_class: type[Queue], job_class: type[ClosedJob]
) -> Queue:
    """Make RQ's end of a ledger's queue."""
    return queue_class(
        queue_name(ledger_id), connection=connection, job_class=job_class, serializer=JSONSerializer
    )


class SendingEnd:
    """What sends to a ledger's queue over one connection.

    Attributes:
        connection: The connection.
        queue: RQ's end of the queue.
        claim: The script that says what may be sent.
    """

    def __init__(self, connection: Any, ledger_id: str) -> None:  # noqa: ANN401  or a cluster's
        self.connection = connection
        self.queue = rq_queue(connection, ledger_id, Queue, ClosedJob)
        self.claim: Any = connection.register_script(CLAIM)

    def depth(self) -> int:
        """Count the messages that were sent and are not done.

        Raises:
            RedisError: Redis is away.
        """
        with self.connection.pipeline(transaction=False) as pipeline:
            pipeline.llen(self.queue.key)
            pipeline.llen(self.queue.intermediate_queue_key)
            pipeline.zcard(self.queue.started_job_registry.key)
            return sum(pipeline.execute())

    def enqueue(self, messages: list[Message]) -> None:
        """Send messages, each as a job.

        Raises:
            RedisError: Redis is away; it may have taken any of them.
        """
        jobs = [_job(message) for message in messages]
        if not is_loose(self.connection):
            self.queue.enqueue_many(jobs)
            return
        # Keys lie apart, and one who takes an entry looks for its job: so that comes first.
        with self.connection.pipeline() as pipeline:
            saved = _Saving(self.queue).enqueue_many(jobs, pipeline)
            for job in saved:
                pipeline.expire(job.key, FAILURE_TTL)  # should it never be pushed
            pipeline.execute()
        self.connection.rpush(self.queue.key, *(job.id for job in saved))


class _Saving(Queue):
    """A queue that saves jobs, and leaves it to others to push them."""

    def __init__(self, queue: Queue) -> None:
        super().__init__(
            queue.name,
            connection=queue.connection,
            job_class=queue.job_class,
            serializer=queue.serializer,
        )
        self.redis_server_version = queue.get_redis_server_version()

    @override
    def push_job_id(self, *_: object, **__: object) -> None:
        """Push nothing."""


def _job(message: Message) -> EnqueueData:
    return Queue.prepare_data(
        FUNCTION,
        args=(message.body.decode(),),
        timeout=JOB_TIMEOUT,
        result_ttl=0,
        failure_ttl=FAILURE_TTL,
        description=f"partition {message.partition}",
        retry=Retry(max=REDELIVERIES),
    )
