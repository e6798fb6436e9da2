"""The queue port: what every backend promises to a producer, and to the consumers at the end."""

from __future__ import annotations

import gc
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import pytest

from shared.queue.local_queue import CAPACITY, LocalQueue
from shared.queue.port import Deliveries, EndOfQueue, OrderQueue
from shared.schema import Message, decode_batch, encode_nudge
from tests import consumers
from tests.eventually import eventually
from tests.orderly import ROOT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from multiprocessing.connection import Connection
    from multiprocessing.context import SpawnProcess

    Role = Callable[[Deliveries, Connection], None]

LEDGER = "ledger-1"
WORKERS = 2
# What must not hang is given this long; it takes milliseconds if it does not.
PROMPTLY = 5.0


class Backend(Protocol):
    """A queue between one producer and two consumers; partition p belongs to worker p % 2."""

    queue: OrderQueue
    room: int

    def consumer(self, worker: int) -> Deliveries:
        """Put a new consumer in a worker's place, and give up what waited for the old one."""

    def finish(self, worker: int) -> bool:
        """Send the end mark; False if there is no room for it."""


class LocalBackend:
    """JoinableQueues of this process."""

    room = CAPACITY

    def __init__(self) -> None:
        self.queue = LocalQueue(multiprocessing.get_context("spawn"), LEDGER, WORKERS)
        self.consumer = self.queue.renew
        self.finish = self.queue.finish


@pytest.fixture(params=[LocalBackend])
def backend(request: pytest.FixtureRequest) -> Iterator[Backend]:
    made: Backend = request.param()
    yield made
    with promptly():
        made.queue.close()


class Process:
    """A consumer in a process of its own."""

    def __init__(self, backend: Backend, worker: int, role: Role) -> None:
        context = multiprocessing.get_context("spawn")
        self._said, theirs = context.Pipe(duplex=False)
        deliveries = backend.consumer(worker)
        self.process: SpawnProcess = context.Process(
            target=role, args=(deliveries, theirs), daemon=True
        )
        self.process.start()
        theirs.close()
        assert self.said() == b"ready"

    @property
    def pid(self) -> int:
        assert self.process.pid is not None
        return self.process.pid

    def said(self, within: float = 20.0) -> bytes:
        """The next thing it said."""
        assert self._said.poll(within), "the consumer says nothing"
        return self._said.recv_bytes()

    def wait_until_idle(self) -> None:
        """Wait until it sleeps in receive(); it has said all that it had to say before."""
        eventually(lambda: self.state() == "S", what="the consumer sleeps")

    def state(self) -> str:
        return Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()[0]

    def stop(self) -> None:
        os.kill(self.pid, signal.SIGSTOP)
        eventually(lambda: self.state() == "T", what="the consumer is stopped")

    def kill(self) -> None:
        self.process.kill()
        self.process.join()

    def close(self) -> None:
        self.kill()
        self.process.close()
        self._said.close()


@pytest.fixture
def start(backend: Backend) -> Iterator[Callable[[int, Role], Process]]:
    """Start consumers; whatever is left of them is killed at the end."""
    started: list[Process] = []

    def start(worker: int, role: Role) -> Process:
        started.append(Process(backend, worker, role))
        return started[-1]

    yield start
    for process in started:
        process.close()


@contextmanager
def promptly(within: float = PROMPTLY) -> Iterator[None]:
    started = time.monotonic()
    yield
    assert time.monotonic() - started < within


def taken(deliveries: Deliveries) -> list[bytes]:
    """Take all that is there, and say that it is done."""
    found = []
    while (message := deliveries.receive(0.2)) is not None:
        found.append(message)
        deliveries.done()
    return found


def messages(worker: int, count: int, size: int = 0, start: int = 0) -> list[Message]:
    """A message for each of a worker's partitions, from the ``start``-th on."""
    partitions = [worker + WORKERS * number for number in range(start, start + count)]
    return [Message(each, b"%d:" % each + b"x" * size) for each in partitions]


def bodies(sent: list[Message]) -> list[bytes]:
    return [message.body for message in sent]


# What is delivered


def test_messages_reach_their_worker_in_their_order(backend: Backend) -> None:
    ends = [backend.consumer(worker) for worker in range(WORKERS)]
    pairs = zip(messages(0, 7), messages(1, 7), strict=True)
    backend.queue.put([each for pair in pairs for each in pair])
    for worker, end in enumerate(ends):
        assert taken(end) == bodies(messages(worker, 7))


def test_a_message_is_left_out_while_another_for_its_partition_is_on_its_way(
    backend: Backend,
) -> None:
    end = backend.consumer(0)
    backend.queue.put([Message(0, b"first"), Message(0, b"second"), Message(2, b"other")])
    backend.queue.nudge([0])
    assert backend.queue.depth() == 2
    assert taken(end) == [b"first", b"other"]
    backend.queue.flush()
    assert taken(end) == []


def test_a_message_is_sent_as_soon_as_the_one_before_it_was_taken(backend: Backend) -> None:
    end = backend.consumer(0)
    for body in (b"first", b"second", b"third"):
        backend.queue.put([Message(0, body)])
        assert end.receive(PROMPTLY) == body  # and it is not done yet
    backend.queue.nudge([0])
    assert end.receive(PROMPTLY) == encode_nudge(LEDGER, 0)


def test_messages_arrive_byte_by_byte_as_they_were_put(backend: Backend) -> None:
    end = backend.consumer(0)
    strange = [bytes(range(256)), b"\0", "äöü€😀".encode(), b'{"a": 1}\n', b"z" * 300_000]
    backend.queue.put(Message(2 * number, body) for number, body in enumerate(strange))
    assert taken(end) == strange


def test_a_nudge_is_a_message_of_this_ledger_without_orders(backend: Backend) -> None:
    ends = [backend.consumer(worker) for worker in range(WORKERS)]
    backend.queue.nudge([3, 0, 1])
    found = [taken(end) for end in ends]
    assert found == [
        [encode_nudge(LEDGER, 0)],
        [encode_nudge(LEDGER, 1), encode_nudge(LEDGER, 3)],
    ]


def test_without_a_message_receive_says_none_at_its_time(backend: Backend) -> None:
    end = backend.consumer(0)
    started = time.monotonic()
    assert end.receive(0.2) is None
    assert 0.19 <= time.monotonic() - started < PROMPTLY
    with promptly(1.0):
        assert end.receive(0) is None


def test_the_end_mark_comes_after_what_was_put_before_it(backend: Backend) -> None:
    ends = [backend.consumer(worker) for worker in range(WORKERS)]
    backend.queue.put(messages(0, 2))
    assert backend.finish(0)
    for message in messages(0, 2):
        assert ends[0].receive(PROMPTLY) == message.body
        ends[0].done()
    with pytest.raises(EndOfQueue):
        ends[0].receive(PROMPTLY)
    assert ends[1].receive(0) is None
    assert backend.queue.join(PROMPTLY)


# When there is no room


def test_put_never_waits_for_room_and_owes_a_nudge_instead(backend: Backend) -> None:
    end = backend.consumer(0)
    sent = messages(0, backend.room + 50, size=10_000)
    with promptly():
        backend.queue.put(sent)
    found = taken(end)
    assert 0 < len(found) < len(sent)
    assert found == bodies(sent[: len(found)])
    nudges: list[bytes] = []
    with promptly(20.0):
        backend.queue.flush()
        while more := taken(end):
            nudges += more
            backend.queue.flush()
    assert nudges == [encode_nudge(LEDGER, each.partition) for each in sent[len(found) :]]


def test_a_partition_that_is_owed_a_nudge_gets_that_before_new_messages(backend: Backend) -> None:
    end = backend.consumer(0)
    *_, owed = sent = messages(0, backend.room + 1)
    backend.queue.put(sent)
    taken(end)
    backend.queue.put([Message(owed.partition, b"late")])  # the journal will be read anyway
    backend.queue.flush()
    assert taken(end) == [encode_nudge(LEDGER, owed.partition)]
    backend.queue.put([Message(owed.partition, b"new")])
    assert taken(end) == [b"new"]


def test_a_full_lane_holds_nobody_else_up(backend: Backend) -> None:
    backend.consumer(0)
    end = backend.consumer(1)
    backend.queue.put(messages(0, backend.room * 2, size=10_000))
    backend.queue.nudge([0, 1])
    backend.queue.put(messages(1, 3))
    assert taken(end) == [encode_nudge(LEDGER, 1), *bodies(messages(1, 3)[1:])]


def test_nudges_for_which_there_is_no_room_are_owed_once_each(backend: Backend) -> None:
    end = backend.consumer(0)
    backend.queue.put(messages(0, backend.room))
    for _ in range(3):
        with promptly():
            backend.queue.nudge([100, 102])
    taken(end)
    backend.queue.flush()
    assert taken(end) == [encode_nudge(LEDGER, 100), encode_nudge(LEDGER, 102)]


def test_several_threads_may_put_at_once(backend: Backend) -> None:
    end = backend.consumer(0)
    found: list[bytes] = []
    reader = threading.Thread(target=lambda: found.extend(taken(end)))
    reader.start()
    producers = [
        threading.Thread(target=backend.queue.put, args=(messages(0, 100, start=100 * own),))
        for own in range(4)
    ]
    for producer in producers:
        producer.start()
    for producer in producers:
        producer.join()
    reader.join()
    backend.queue.flush()
    while more := taken(end):
        found += more
        backend.queue.flush()
    for own in range(4):
        sent = messages(0, 100, start=100 * own)
        ours = [body for body in found if body in bodies(sent)]
        assert ours == [body for body in bodies(sent) if body in ours]
        for message in sent:
            assert (message.body in ours) != (encode_nudge(LEDGER, message.partition) in found)


# What is counted


def test_depth_counts_what_is_not_done_yet(backend: Backend) -> None:
    end = backend.consumer(0)
    assert backend.queue.depth() == 0
    backend.queue.put(messages(0, 3))
    assert backend.queue.depth() == 3
    assert end.receive(PROMPTLY)
    assert backend.queue.depth() == 3
    end.done()
    assert backend.queue.depth() == 2
    taken(end)
    assert backend.queue.depth() == 0


def test_join_waits_for_done_but_not_beyond_its_deadline(backend: Backend) -> None:
    end = backend.consumer(0)
    backend.queue.put(messages(0, 1))
    assert end.receive(PROMPTLY)
    started = time.monotonic()
    assert not backend.queue.join(0.2)
    assert 0.19 <= time.monotonic() - started < PROMPTLY
    end.done()
    with promptly():
        assert backend.queue.join(PROMPTLY)
        assert backend.queue.join(0.5)


# When consumers come and go


def test_a_new_consumer_starts_with_an_empty_lane(backend: Backend) -> None:
    backend.consumer(0)
    other = backend.consumer(1)
    backend.queue.put(messages(0, 3) + messages(1, 2))
    end = backend.consumer(0)
    assert backend.queue.depth() == 2
    backend.queue.put([Message(0, b"new")])
    assert taken(end) == [b"new"]
    assert taken(other) == bodies(messages(1, 2))
    assert backend.queue.join(PROMPTLY)


def test_a_consumer_works_in_another_process(
    backend: Backend, start: Callable[[int, Role], Process]
) -> None:
    consumer = start(0, consumers.echo)
    backend.queue.put(messages(0, 3))
    assert [consumer.said() for _ in range(3)] == bodies(messages(0, 3))
    assert backend.queue.join(PROMPTLY)
    eventually(lambda: backend.queue.depth() == 0, what="all is counted as done")
    assert backend.finish(0)
    assert consumer.said() == b"end"


def assert_replaceable(backend: Backend, start: Callable[[int, Role], Process]) -> None:
    """The queue still serves both workers, the one in a new place too."""
    with promptly(20.0):
        fresh, other = start(0, consumers.echo), start(1, consumers.echo)
        backend.queue.put([Message(0, b"zero"), Message(1, b"one")])
        assert (fresh.said(), other.said()) == (b"zero", b"one")
        backend.queue.nudge([2])
        assert decode_batch(fresh.said()).partition == 2
        assert backend.queue.join(PROMPTLY)
        eventually(lambda: backend.queue.depth() == 0, what="all is counted as done")
        assert backend.finish(0)
        assert fresh.said() == b"end"


def test_a_consumer_killed_while_it_waits_is_replaced(
    backend: Backend, start: Callable[[int, Role], Process]
) -> None:
    lost = start(0, consumers.echo)
    other = start(1, consumers.echo)
    lost.wait_until_idle()
    lost.kill()
    with promptly():
        backend.queue.put(messages(0, backend.room * 2, size=10_000) + messages(1, 1))
        backend.queue.flush()
    assert other.said() == messages(1, 1)[0].body
    assert_replaceable(backend, start)


def test_a_consumer_killed_with_a_message_in_hand_is_replaced(
    backend: Backend, start: Callable[[int, Role], Process]
) -> None:
    lost = start(0, consumers.hold)
    backend.queue.put(messages(0, 2))
    assert lost.said() == messages(0, 2)[0].body
    lost.kill()
    with promptly():
        assert not backend.queue.join(0.1)
        backend.queue.put(messages(0, backend.room * 2, size=10_000))
        backend.queue.flush()
    assert_replaceable(backend, start)


def test_a_consumer_killed_with_a_lock_in_hand_is_replaced(
    backend: Backend, start: Callable[[int, Role], Process]
) -> None:
    lost = start(0, consumers.hold_the_lock)
    lost.kill()
    with promptly():
        backend.queue.put(messages(0, 3))
        backend.queue.nudge([0, 2])
        assert not backend.queue.join(0.1)
        assert not backend.finish(0)
    assert_replaceable(backend, start)


@pytest.mark.parametrize("role", [consumers.echo, consumers.hold, consumers.hold_the_lock])
def test_a_consumer_that_stands_still_holds_nobody_up(
    backend: Backend, start: Callable[[int, Role], Process], role: Role
) -> None:
    stuck = start(0, role)
    stuck.wait_until_idle()
    stuck.stop()
    with promptly():
        backend.queue.put(messages(0, backend.room * 2, size=10_000))
        backend.queue.flush()
        backend.queue.nudge([0, 2])
        assert backend.queue.depth() > 0
        assert not backend.queue.join(0.1)
    assert_replaceable(backend, start)
    stuck.kill()


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208  only their number counts


def test_lanes_that_were_given_up_leave_nothing_behind(backend: Backend) -> None:
    def renew() -> None:
        backend.consumer(0)
        backend.queue.put(messages(0, backend.room * 2, size=50_000))

    renew()
    gc.collect()
    threads, open_before = threading.active_count(), descriptors()
    with promptly(20.0):
        for _ in range(20):
            renew()
    eventually(lambda: threading.active_count() <= threads + 1, what="their threads end")
    gc.collect()
    eventually(lambda: descriptors() <= open_before + 2, what="their descriptors are closed")


@pytest.mark.parametrize("ending", ["queue.close()", ""])
def test_the_interpreter_ends_although_nobody_reads(ending: str) -> None:
    script = (
        "import multiprocessing\n"
        "from shared.queue.local_queue import LocalQueue\n"
        "from shared.schema import Message\n"
        "queue = LocalQueue(multiprocessing.get_context('spawn'), 'L', 2)\n"
        "for _ in range(3):\n"
        "    ends = [queue.renew(0), queue.renew(1)]\n"
        "    queue.put([Message(p, b'x' * 50_000) for p in range(20)])\n"
        "    assert not queue.join(0.1)\n"
        f"{ending}\n"
    )
    subprocess.run([sys.executable, "-c", script], cwd=ROOT, timeout=20, check=True)
