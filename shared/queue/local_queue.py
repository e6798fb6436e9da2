"""The queue of local mode: a bounded ``multiprocessing.JoinableQueue`` for each worker.

One for each, because consumers that share a queue share its locks: a worker that is killed while
it waits in ``get()`` takes the reader's lock along, and all the others wait for ever. Here a dead
worker's queue is thrown away with it, and the journal knows what was in it.
"""

from __future__ import annotations

import errno
import queue
import threading
import time
from typing import TYPE_CHECKING, Any

from typing_extensions import override

from shared.errors import QueueUnavailable
from shared.queue.port import Deliveries, EndOfQueue, QueuePerWorker
from shared.schema import encode_nudge

if TYPE_CHECKING:
    from collections.abc import Iterable
    from multiprocessing.context import SpawnContext

    from shared.schema import Message

CAPACITY = 16
"""Messages that wait for a worker: enough to keep it busy, little to lose with it."""

_END = b""
_LOCK_PATIENCE = 0.05


class SemaphoresUnavailable(QueueUnavailable, OSError):
    """This machine lets no semaphore be made: it has no shared memory, or no room in it."""


class LocalDeliveries(Deliveries):
    """A worker's end of its queue; travels to the worker's process as an argument."""

    def __init__(self, joinable: Any, taken: Any, done: Any) -> None:  # noqa: ANN401  untyped
        self._queue = joinable
        self._taken = taken
        self._done = done

    @override
    def receive(self, timeout: float) -> bytes | None:
        """Take the next message from the pipe."""
        try:
            message: bytes = self._queue.get(timeout=timeout)
        except queue.Empty:
            return None
        # Before anything is read from the journal: see _WorkerQueue.is_waiting().
        self._taken.value += 1
        if message == _END:
            self.done()
            raise EndOfQueue
        return message

    @override
    def done(self) -> None:
        """Count it as done, for ``join`` and for ``depth``."""
        self._queue.task_done()
        self._done.value += 1


class _WorkerQueue:
    """One worker's queue, and the partitions that it could not carry a message for."""

    def __init__(self, context: SpawnContext) -> None:
        try:
            joinable: Any = context.JoinableQueue(CAPACITY)
        except OSError as error:
            if error.errno in {errno.EMFILE, errno.ENFILE}:
                raise
            raise SemaphoresUnavailable(
                f"the queue cannot be made: {error.strerror}; its semaphores need /dev/shm, "
                "mounted, with room, and open to this user (in a container see --shm-size)"
            ) from None
        self.queue = joinable
        # A feeder thread that meets a pipe without a reader shall end quietly: see discard().
        joinable._ignore_epipe = True  # noqa: SLF001
        # Nor shall the end of this process wait for it: what is in it is in the journal, too.
        joinable.cancel_join_thread()
        self.taken: Any = context.RawValue("Q", 0)
        self.done: Any = context.RawValue("Q", 0)
        self.sent = 0
        self._last: dict[int, int] = {}
        self.owed: set[int] = set()
        self.is_discarded = False
        self.lock = threading.Lock()

    def is_waiting(self, partition: int) -> bool:
        """Whether a message for a partition is still on its way.

        Its consumer counts it as taken before it looks at the journal, and we ask after the
        commit: so it will see what was committed, and needs no other message.
        """
        return self._last.get(partition, 0) > int(self.taken.value)

    def send(self, partition: int, message: bytes) -> bool:
        """Offer a message for a partition."""
        is_sent = self.offer(message)
        if is_sent:
            self._last[partition] = self.sent
        return is_sent

    def offer(self, message: bytes) -> bool:
        """Put a message if there is room and the queue is sound; never wait for long."""
        if self.is_discarded:
            return False  # its successor's worker is nudged, and reads the journal
        # put() takes this condition without a time-out, and a worker that was killed or stopped
        # inside task_done() never gives it back: so take it here first, with one.
        condition = self.queue._cond  # noqa: SLF001
        if not condition.acquire(timeout=_LOCK_PATIENCE):
            return False
        try:
            self.queue.put_nowait(message)
        except queue.Full:
            return False
        finally:
            condition.release()
        self.sent += 1
        return True

    def join(self) -> None:
        self.queue.join()

    def discard(self) -> None:
        """Give the queue up although its worker is gone.

        The feeder thread may be blocked in a pipe that nobody reads. Without any reader left its
        write fails, and it ends.
        """
        with self.lock:
            self.is_discarded = True
            self.queue._reader.close()  # noqa: SLF001
            if self.queue._thread is None:  # noqa: SLF001  else the feeder closes its end itself
                self.queue._writer.close()  # noqa: SLF001
            self.queue.close()


class LocalQueue(QueuePerWorker):
    """A ``JoinableQueue`` for each of ``workers`` consumers."""

    def __init__(self, context: SpawnContext, ledger_id: str, workers: int) -> None:
        self._context = context
        self._ledger_id = ledger_id
        self._queues = [_WorkerQueue(context) for _ in range(workers)]

    @override
    def renew(self, worker: int) -> LocalDeliveries:
        # First: the next one may find no room, and nobody shall wait for a dead worker's locks.
        self._queues[worker].discard()
        self._queues[worker] = fresh = _WorkerQueue(self._context)
        return LocalDeliveries(fresh.queue, fresh.taken, fresh.done)

    @override
    def put(self, messages: Iterable[Message]) -> None:
        for partition, body in messages:
            own = self._queue_of(partition)
            with own.lock:
                # Where a nudge is owed the journal will be read anyway.
                if partition in own.owed or own.is_waiting(partition):
                    continue
                if not own.send(partition, body):
                    own.owed.add(partition)

    @override
    def nudge(self, partitions: Iterable[int]) -> None:
        for partition in partitions:
            own = self._queue_of(partition)
            with own.lock:
                own.owed.add(partition)
        self.flush()

    @override
    def flush(self) -> None:
        for own in self._queues:
            with own.lock:
                for partition in sorted(own.owed):
                    nudge = encode_nudge(self._ledger_id, partition)
                    if not own.is_waiting(partition) and not own.send(partition, nudge):
                        break
                    own.owed.discard(partition)

    @override
    def depth(self) -> int:
        return sum(max(0, own.sent - own.done.value) + len(own.owed) for own in self._queues)

    @override
    def finish(self, worker: int) -> bool:
        own = self._queues[worker]
        with own.lock:
            return own.offer(_END)

    @override
    def join(self, timeout: float) -> bool:
        # JoinableQueue.join() has no time-out, so helpers wait in its place.
        deadline = time.monotonic() + timeout
        helpers = [threading.Thread(target=own.join, daemon=True) for own in self._queues]
        for helper in helpers:
            helper.start()
        for helper in helpers:
            helper.join(max(0.0, deadline - time.monotonic()))
        return not any(helper.is_alive() for helper in helpers)

    @override
    def close(self) -> None:
        for own in self._queues:
            own.discard()

    def _queue_of(self, partition: int) -> _WorkerQueue:
        return self._queues[partition % len(self._queues)]
