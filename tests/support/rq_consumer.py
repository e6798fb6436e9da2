"""The redis queue's consumers, made to be asked for messages as the port's tests do.

RQ's worker runs a job as soon as it has taken it. Here its parts are called one by one: taking and
clearing the mark in ``receive``, running and tidying up in ``done``. It is the product's own code,
all but the settlement, which needs a ledger.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any, cast

from rq import SimpleWorker

from services.payment.consumer import IDLE_SECONDS
from services.payment.heartbeat import Heartbeat
from services.payment.next_batch import Delivery
from services.worker.rq_job import PaymentJob, PaymentQueue, at_work
from services.worker.rq_outage import RedisOutage
from services.worker.rq_worker import PaymentWorker
from shared.queue.port import Deliveries
from shared.queue.redis_connection import RedisConnection, connect
from shared.queue.redis_keys import own_key
from shared.queue.redis_queue import ROOM, RedisQueue
from shared.queue.redis_sending import rq_queue
from tests.support.queues import LEDGER

if TYPE_CHECKING:
    from rq.job import Job

    from services.payment.consumer import Consumer


class _Settled:
    """In place of a settlement: the test has looked at the message already."""

    def follow(self, message: bytes) -> Delivery:  # noqa: ARG002
        return Delivery.FRESH


_SETTLED = cast("Consumer", _Settled())


class RedisDeliveries(Deliveries):
    """A worker's end; travels to another process as an argument, and connects there."""

    def __init__(self, url: str, ledger_id: str) -> None:
        self._url = url
        self._ledger_id = ledger_id
        self._worker: PaymentWorker | None = None
        self._job: Job | None = None

    @property
    def worker(self) -> PaymentWorker:
        """RQ's worker."""
        if self._worker is None:
            connection = RedisConnection(self._url)
            queue = rq_queue(connection.open(), self._ledger_id, PaymentQueue, PaymentJob)
            heartbeat = Heartbeat([0] * Heartbeat.SIZE)
            stop = threading.Event()
            outage = RedisOutage(heartbeat, stop, connection)
            self._worker = PaymentWorker(
                queue, self._ledger_id, _SETTLED, heartbeat, outage, stop, threading.Event()
            )
        return self._worker

    def receive(self, timeout: float) -> bytes | None:
        queue: Any = self.worker.queues[0]
        deadline = time.monotonic() + timeout
        while (job := queue.take(min(IDLE_SECONDS, deadline - time.monotonic()))) is None:
            if time.monotonic() > deadline:
                return None
        self._job = job
        self.worker._clear_mark(job)
        body: str = job.args[0]
        return body.encode()

    def done(self) -> None:
        assert self._job is not None, "nothing was received"
        at_work.set(_SETTLED)  # each thread has its own
        # Not PaymentWorker's, which begins with what receive() has done.
        SimpleWorker.execute_job(self.worker, self._job, self.worker.queues[0])
        self._job = None

    def recover(self) -> None:
        """Look for what others left behind, as every worker does now and then."""
        queue: Any = self.worker.queues[0]
        self.worker._recover_jobs(queue)

    def close(self) -> None:
        if self._worker is not None:
            self._worker.connection.close()


class RedisBackend:
    """A queue on a Redis server; whoever is free takes the next message of any partition."""

    room = ROOM
    is_forgetful = False
    places = 1

    def __init__(self, url: str) -> None:
        self.url = url
        self._ends: list[RedisDeliveries] = []
        self._empty()
        self.queue = RedisQueue(url, LEDGER)

    def consumer(self, worker: int) -> RedisDeliveries:  # noqa: ARG002  there are no places
        self._ends.append(RedisDeliveries(self.url, LEDGER))
        return self._ends[-1]

    def close(self) -> None:
        self.queue.close()
        for end in self._ends:
            end.close()
        self._empty()

    def _empty(self) -> None:
        """Take out what is of this ledger, and leave what else the server may hold."""
        with connect(self.url) as connection:
            queue = rq_queue(connection, LEDGER, PaymentQueue, PaymentJob)
            connection.delete(queue.intermediate_queue_key, queue.started_job_registry.key)
            queue.delete(delete_jobs=True)
            for key in connection.scan_iter(own_key(LEDGER, "*")):
                connection.delete(key)
