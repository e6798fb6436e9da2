"""Keeps payment workers running: starts them, watches them, replaces the dead and the stuck.

A worker is taken for stuck when it has shown no sign of life for STALL_AFTER seconds; it is killed,
since one that holds a lock would hold up everybody. Whatever a worker was doing when it ended is
either committed or still open in the journal, so a replacement needs no knowledge of it.
"""

from __future__ import annotations

import multiprocessing
import queue
import signal
import time
from multiprocessing import resource_tracker
from multiprocessing.connection import wait
from typing import TYPE_CHECKING

from services.payment.consumer import NO_ROOM
from services.payment.heartbeat import Heartbeat
from services.pipeline.slots import Loss, Vacancy, Worker
from services.processes.fork_server import WorkerProcess, reap
from services.processes.signals import withheld
from services.worker import process as payment
from shared.errors import QueueUnavailable, WorkersFailed
from shared.logs import Logger

if TYPE_CHECKING:
    from collections.abc import Callable
    from multiprocessing.context import SpawnProcess

BOOT_SECONDS = 30.0
"""How long a new process may take to its first sign of life; imports are slow on a busy machine."""

FALSE_STARTS = 4
"""So many times in a row a worker may end by itself before it was ready."""

log = Logger("supervisor")


class Supervisor:
    """Workers of one process tree.

    Args:
        start: Starts a process for a slot, given its heartbeat, by ``employ``.
        stall_after: Seconds without a sign of life after which a worker is stuck.
        on_loss: Told of every worker that ended unasked, after it was replaced.
    """

    def __init__(
        self,
        start: Callable[[int, Heartbeat], SpawnProcess],
        *,
        stall_after: float,
        on_loss: Callable[[Loss], None],
    ) -> None:
        self._start = start
        self._stall_after = stall_after
        self._on_loss = on_loss
        self._looked_at = time.monotonic()
        self._condemned: queue.SimpleQueue[int] = queue.SimpleQueue()
        self.context = multiprocessing.get_context("spawn")
        with withheld([signal.SIGHUP]):  # it would be a closed terminal's first victim
            resource_tracker.ensure_running()
        self.workers: list[Worker] = []

    def start(self, count: int) -> None:
        """Start the workers. Call it from the main thread: Linux ties them to their thread.

        Raises:
            WorkersFailed: The system has no room for them.
        """
        for slot in range(count):
            try:
                process, heartbeat = self._launch(slot)
            except QueueUnavailable:
                raise
            except OSError as error:
                raise WorkersFailed(
                    f"payment worker {slot} cannot be started: {error.strerror}; see to the limits "
                    "of this machine, or start fewer with --workers"
                ) from None
            self.workers.append(Worker(slot, process, heartbeat))

    def employ(self, slot: int, assignment: payment.Assignment) -> SpawnProcess:
        """Start a worker's process for a slot; to be called by ``start``."""
        process = WorkerProcess(
            target=payment.main, args=(assignment,), name=f"payment-{slot}", daemon=True
        )
        with withheld():
            process.start()
        return process

    def watch(self, timeout: float) -> None:
        """Wait up to ``timeout`` seconds for a death, and replace who is dead or stuck.

        Raises:
            WorkersFailed: Workers end before they are ready, again and again.
        """
        self._kill_condemned()
        vacant = [each.vacancy for each in self.workers if each.vacancy]
        if vacant:
            again_at = min(each.again_at for each in vacant)
            timeout = min(timeout, max(0.0, again_at - time.monotonic()))
        wait([each.process.sentinel for each in self.workers if not each.vacancy], timeout)
        now = time.monotonic()
        if now - self._looked_at > self._stall_after / 2 + timeout:
            # This process was stopped itself, and so perhaps were the workers: a fresh start.
            for worker in self.workers:
                worker.begin_anew(now)
        self._looked_at = now
        for worker in self.workers:
            if worker.vacancy:
                self._fill(worker, worker.vacancy)
            elif not worker.process.is_alive():
                self._replace(worker, _describe(worker.process.exitcode), _is_fault(worker.process))
            elif worker.silence(now) > (patience := self._patience(worker)):
                worker.process.kill()
                reap(worker.process)
                why = f"showed no sign of life for {patience:g} s"
                self._replace(worker, why, is_fault=False)

    @property
    def deserted(self) -> float:
        """Seconds for which all slots have been vacant; 0 where a worker is there."""
        vacancies = [each.vacancy for each in self.workers]
        latest = max((each.since for each in vacancies if each), default=time.monotonic())
        return time.monotonic() - latest if all(vacancies) else 0.0

    @property
    def is_useless(self) -> bool:
        """Whether it has workers, and not one of them is ready."""
        return bool(self.workers) and not any(each.heartbeat.is_ready for each in self.workers)

    def condemn(self, pid: int) -> None:
        """Have a worker killed by the thread that watches: it alone knows whose the pid is."""
        self._condemned.put(pid)

    def terminate(self) -> None:
        """Ask the workers to end, when they have finished what they have in hand."""
        for worker in self.workers:
            worker.process.terminate()

    def stop(self, timeout: float) -> None:
        """Wait for the workers to end by themselves, and kill those that do not."""
        deadline = time.monotonic() + timeout
        for worker in self.workers:
            worker.process.join(max(0.0, deadline - time.monotonic()))
        self.kill()

    def kill(self) -> None:
        """End every worker at once, and reap it: no orphan, no zombie."""
        for worker in self.workers:
            worker.process.kill()
        for worker in self.workers:
            reap(worker.process)

    def _kill_condemned(self) -> None:
        while not self._condemned.empty():
            pid = self._condemned.get()
            for worker in self.workers:
                if worker.process.pid == pid:
                    worker.process.kill()

    def _launch(self, slot: int) -> tuple[SpawnProcess, Heartbeat]:
        heartbeat = Heartbeat(self.context.RawArray("Q", Heartbeat.SIZE))
        return self._start(slot, heartbeat), heartbeat

    def _patience(self, worker: Worker) -> float:
        if worker.heartbeat.is_ready:
            return self._stall_after
        return max(self._stall_after, BOOT_SECONDS)

    def _replace(self, worker: Worker, why: str, is_fault: bool) -> None:  # noqa: FBT001
        culprit = worker.heartbeat.partition if is_fault else None
        if worker.heartbeat.is_ready:
            worker.false_starts = 0
            worker.backoff.reset()
        elif is_fault:
            worker.false_starts += 1
            if worker.false_starts > FALSE_STARTS:
                raise WorkersFailed(f"payment workers end before they are ready: {why}")
        worker.before = worker.meter
        worker.heartbeat = Heartbeat([0] * Heartbeat.SIZE)
        wait = worker.backoff.grow() if worker.process.exitcode == NO_ROOM else 0.0
        worker.vacancy = Vacancy(Loss(worker.slot, culprit, why), time.monotonic() + wait)
        self._fill(worker, worker.vacancy)

    def _fill(self, worker: Worker, vacancy: Vacancy) -> None:
        """Start a process in place of a dead one, or try again later if there is no room for it."""
        if time.monotonic() < vacancy.again_at:
            return
        lost_pid, loss = worker.process.pid, vacancy.loss
        try:
            worker.process, worker.heartbeat = self._launch(worker.slot)
        except (OSError, RuntimeError, MemoryError) as error:
            if not vacancy.is_told:
                log.warning(
                    "worker cannot be replaced; it is tried again",
                    worker=worker.slot,
                    pid=lost_pid,
                    why=loss.why,
                    error=f"{type(error).__name__}: {error}",
                )
            vacancy.is_told = True
            vacancy.again_at = time.monotonic() + worker.backoff.grow()
            return
        worker.restarts += 1  # not before: who reports it names the process that is there
        worker.vacancy = None
        worker.started = time.monotonic()
        worker.begin_anew(worker.started)
        worker.beats = (0, 0)
        log.warning(
            "worker replaced",
            worker=worker.slot,
            pid=lost_pid,
            why=loss.why,
            new_pid=worker.process.pid,
        )
        self._on_loss(loss)


def _is_fault(process: SpawnProcess) -> bool:
    """Whether a process ended by itself, rather than by somebody's signal."""
    return process.exitcode not in {0, NO_ROOM, -signal.SIGKILL, -signal.SIGTERM}


def _describe(exit_code: int | None) -> str:
    if exit_code is not None and exit_code < 0:
        return f"killed by {signal.Signals(-exit_code).name}"
    if exit_code == NO_ROOM:
        return "had no room left; see what it said before"
    return f"ended with exit code {exit_code}"
