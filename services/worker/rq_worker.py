"""The worker of redis mode: RQ's SimpleWorker, without what could be used against it from Redis.

It takes jobs from a ``PaymentQueue`` and runs nothing else, cleans up only after its like, and
listens to no commands. It stays when Redis goes: what it had in hand is in the journal.
"""

from __future__ import annotations

import os
import secrets
import signal
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from redis.exceptions import ResponseError
from rq import SimpleWorker
from rq.suspension import is_suspended
from rq.timeouts import BaseDeathPenalty
from rq.utils import now
from rq.worker_registration import clean_worker_registry, register
from typing_extensions import override

from services.payment.consumer import IDLE_SECONDS, worker_name
from services.worker.rq_job import PaymentJob, PaymentQueue, at_work
from services.worker.rq_outage import RedisOutage
from shared.errors import InvalidBatch, QueueUnavailable
from shared.library_logs import forward_warnings
from shared.logs import Logger
from shared.queue.closed_job import JOB_TIMEOUT, Refused
from shared.queue.controls import Controls
from shared.queue.redis_connection import FAILURES, RedisConnection, is_loose
from shared.queue.redis_keys import on_its_way
from shared.queue.redis_sending import rq_queue
from shared.resilience import Mishaps
from shared.schema import read_header

if TYPE_CHECKING:
    from rq import Queue
    from rq.executions import Execution
    from rq.job import Job

    from services.payment.consumer import Consumer
    from services.payment.heartbeat import Heartbeat
    from shared.settings import Settings

UPKEEP_SECONDS = 5
"""How often it shows RQ that it is there, and looks for jobs that somebody left behind."""

WORKER_TTL = 20
"""Seconds after which RQ takes a worker for gone."""

CONTROL_SECONDS = 0.25
"""How often it hears what it is told."""

log = Logger("payment")


def work(settings: Settings, ledger_id: str, consumer: Consumer, heartbeat: Heartbeat) -> None:
    """Take jobs and settle what they point to, until SIGTERM; the job under way is finished.

    Args:
        settings: Where Redis is, and whether this may be told to pause or to die, for a show.
        ledger_id: Whose jobs these are.
        consumer: What settles.
        heartbeat: Where it shows that it is alive.
    """
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    forward_warnings("rq", log, "rq")
    at_work.set(consumer)
    pause = threading.Event()
    url, password_file = settings.redis_url, settings.redis_password_file
    if settings.chaos:
        controls = Controls(url, ledger_id, password_file)
        _hear(controls, pause)  # before the first job: whoever replaces another may be paused
        threading.Thread(
            target=_obey, args=(controls, pause, stop), name="controls", daemon=True
        ).start()
    outage = RedisOutage(heartbeat, stop, RedisConnection(url, password_file))
    while not stop.is_set():
        heartbeat.waiting()
        try:
            # RQ's own loop, which ends at whatever it does not know.
            with outage.mishaps.survived(*FAILURES):
                queue = rq_queue(outage.connection.open(), ledger_id, PaymentQueue, PaymentJob)
                PaymentWorker(queue, ledger_id, consumer, heartbeat, outage, stop, pause).work()
        except FAILURES as error:  # it was away when the worker came or went
            outage.after(error)
        outage.after_mishap()


def _obey(controls: Controls, pause: threading.Event, stop: threading.Event) -> None:
    """Do as told, in a thread of its own: whoever is to be killed should be so in mid-work."""
    mishaps = Mishaps(log, "controls failed")
    while not stop.wait(max(CONTROL_SECONDS, mishaps.backoff.seconds)):
        with mishaps.survived():
            _hear(controls, pause)


def _hear(controls: Controls, pause: threading.Event) -> None:
    with suppress(QueueUnavailable):
        commands = controls.listen(worker_name(os.getpid()))
        if commands.is_killed:
            os.kill(os.getpid(), signal.SIGKILL)
        (pause.set if commands.is_paused else pause.clear)()


class _NoDeathPenalty(BaseDeathPenalty):
    """RQ's time-out would raise in the middle of a settlement; the supervisor watches instead."""

    @override
    def setup_death_penalty(self) -> None:
        pass

    @override
    def cancel_death_penalty(self) -> None:
        pass


class PaymentWorker(SimpleWorker):
    """Runs payment jobs in this process, one after the other."""

    queue_class = PaymentQueue
    job_class = PaymentJob
    death_penalty_class = _NoDeathPenalty
    # These belong to RQ's own loop, whose place dequeue_job_and_maintain_ttl() takes.
    connection_timeout = 2
    should_run_maintenance_tasks = False

    def __init__(
        self,
        queue: Queue,
        ledger_id: str,
        consumer: Consumer,
        heartbeat: Heartbeat,
        outage: RedisOutage,
        stop: threading.Event,
        pause: threading.Event,
    ) -> None:
        # A name of its own each time: pids come again, and RQ allows no two of one name.
        name = f"{worker_name(os.getpid())}-{secrets.token_hex(3)}"
        super().__init__(
            [queue], name, connection=queue.connection, worker_ttl=WORKER_TTL, serializer="json"
        )
        self._ledger_id = ledger_id
        self._consumer = consumer
        self._heartbeat = heartbeat
        self._outage = outage
        self._stop = stop
        self._pause = pause
        self._kept_up_at = 0.0
        self._left_behind: set[bytes] = set()

    @override
    def _set_connection(self, connection: Any) -> Any:
        """It has its time-outs."""
        return connection

    @override
    def _set_ip_address(self, connection: Any) -> None:
        """Tell who this is, where a connection is one, and it may."""
        self.ip_address = "unknown"
        if not is_loose(connection):
            with suppress(ResponseError):
                connection.client_setname(self.name)
                self.ip_address = str(connection.client_info()["addr"])

    @override
    def bootstrap(self, *_: Any, **__: Any) -> None:
        """Register; set up no logs of RQ's own, and subscribe to no commands."""
        self.register_birth()  # type: ignore[no-untyped-call]

    @override
    def _install_signal_handlers(self) -> None:
        """None: work() has its own."""

    @override
    def check_for_suspension(self, burst: bool) -> None:
        """Done where jobs are taken, so that a worker that waits shows that it is alive."""

    @override
    def heartbeat(self, timeout: int | None = None, pipeline: Any = None) -> None:
        """Only with other commands: upkeep does it now and then."""
        if pipeline is not None:
            super().heartbeat(timeout, pipeline)

    @override
    def get_heartbeat_ttl(self, job: Job, working_time: float = 0.0) -> int:
        """Seconds after which RQ takes the job at hand for abandoned."""
        return JOB_TIMEOUT

    @override
    def dequeue_job_and_maintain_ttl(
        self, timeout: int | None, max_idle_time: int | None = None
    ) -> tuple[Job, Queue] | None:
        """Wait for a job, and settle what is due meanwhile; None when it is time to go."""
        del timeout, max_idle_time
        queue: Any = self.queues[0]
        while not self._stop.is_set():
            self._heartbeat.waiting()
            job = None
            try:
                if self._outage.connection.open() is not self.connection:
                    return None  # what is there now needs another worker
                with self._outage.mishaps.survived(*FAILURES):
                    job = self._next(queue)
            except FAILURES as error:
                self._outage.after(error)
                continue
            self._outage.after_mishap()
            self._outage.is_over()
            if job is not None:
                return job, queue
        return None

    def _next(self, queue: Any) -> Job | None:  # noqa: ANN401  RQ's own class knows no take()
        """Do what is due, and take a job if one comes within a moment."""
        self._keep_up(queue)
        if self._pause.is_set() or is_suspended(self.connection, self):
            self._stop.wait(IDLE_SECONDS)
            return None
        self._consumer.come_back()
        job: Job | None = queue.take(self._consumer.schedule.wait(IDLE_SECONDS))
        return job

    @override
    def execute_job(self, job: Job, queue: Queue) -> None:
        """Settle what a job points to. If Redis goes meanwhile, the journal knows what is left."""
        try:
            with self._outage.mishaps.survived(*FAILURES):
                self._clear_mark(job)
                super().execute_job(job, queue)
        except FAILURES as error:
            self._outage.after(error)
        self._outage.after_mishap()

    @override
    def perform_job(self, job: Job, queue: Queue, execution: Execution) -> bool:
        """Run a job, and leave nothing of it behind in Redis unless it is refused."""
        self.prepare_job_execution(job, remove_from_intermediate_queue=True)
        started = now()
        refusal = None
        try:
            job.perform()
        except Refused as refused:
            refusal = str(refused)
        with self.connection.pipeline() as pipeline:
            self.cleanup_execution(job, pipeline, execution)
            self.increment_total_working_time(now() - started, pipeline)
            if refusal is None:
                self.increment_successful_job_count(pipeline)
                pipeline.delete(job.key)
            else:
                self.increment_failed_job_count(pipeline)
            pipeline.execute()
        if refusal is not None and isinstance(queue, PaymentQueue):
            queue.fail(job.id, refusal)
        return refusal is None

    def _clear_mark(self, job: Job) -> None:
        """Let the next message for the partition be sent, before the journal is read for this one.

        So whatever is committed from now on is either seen, or announced by a message of its own.
        """
        try:
            partition = read_header(job.args[0].encode()).partition
        except InvalidBatch:
            return
        self.connection.delete(on_its_way(self._ledger_id, partition))

    def _keep_up(self, queue: PaymentQueue) -> None:
        if time.monotonic() - self._kept_up_at < UPKEEP_SECONDS:
            return
        self._kept_up_at = time.monotonic()
        self.last_heartbeat = now()
        with self.connection.pipeline() as pipeline:
            # All of it, since Redis may have come back empty.
            pipeline.hset(self.key, mapping=self.serialize())
            pipeline.expire(self.key, WORKER_TTL)
            register(self, pipeline)
            pipeline.execute()
        try:
            self._recover_jobs(queue)
        except (ResponseError, ValueError) as error:
            log.warning("RQ's registries cannot be cleaned", error=str(error))

    def _recover_jobs(self, queue: PaymentQueue) -> None:
        """Send jobs again that their workers left behind; one worker at a time looks for them."""
        key = queue.intermediate_queue_key
        connection: Any = self.connection
        between = set(connection.lrange(key, 0, -1))
        for entry in between & self._left_behind:  # neither waiting nor started, for a while
            if connection.lrem(key, 1, entry):
                connection.lpush(queue.key, entry)
        self._left_behind = between
        if not connection.set(queue.registry_cleaning_key, 1, nx=True, ex=UPKEEP_SECONDS):
            return
        queue.recover()
        queue.failed_job_registry.cleanup()
        clean_worker_registry(queue)
