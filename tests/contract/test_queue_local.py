"""What the local queue promises beyond the port: a queue for each worker, given up with it."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

import pytest

from shared.queue.port import EndOfQueue
from shared.schema import Message
from tests.support import consumers
from tests.support.eventually import eventually
from tests.support.orderly import ROOT
from tests.support.queues import (
    PROMPTLY,
    WORKERS,
    bodies,
    message,
    messages,
    nudge,
    promptly,
    taken,
)

if TYPE_CHECKING:
    from tests.contract.conftest import Start
    from tests.support.queues import LocalBackend


def test_each_worker_gets_the_messages_of_its_partitions(local: LocalBackend) -> None:
    ends = [local.consumer(worker) for worker in range(WORKERS)]
    pairs = zip(messages(0, 7), messages(1, 7), strict=True)
    local.queue.put([each for pair in pairs for each in pair])
    for worker, end in enumerate(ends):
        assert taken(end) == bodies(messages(worker, 7))
    local.queue.nudge([3, 0, 1])
    assert [taken(end) for end in ends] == [[nudge(0)], [nudge(1), nudge(3)]]


def test_a_full_queue_holds_nobody_else_up(local: LocalBackend) -> None:
    local.consumer(0)
    end = local.consumer(1)
    local.queue.put(messages(0, local.room * 2, size=10_000))
    local.queue.nudge([0, 1])
    local.queue.put(messages(1, 3))
    assert taken(end) == [nudge(1), *bodies(messages(1, 3)[1:])]


def test_any_bytes_arrive_as_they_were_put(local: LocalBackend) -> None:
    end = local.consumer(0)
    strange = [bytes(range(256)), b"\0", b"\xff\xfe", b"z" * 300_000]
    local.queue.put(Message(2 * number, body) for number, body in enumerate(strange))
    assert taken(end) == strange


def test_the_end_mark_comes_after_what_was_put_before_it(local: LocalBackend) -> None:
    ends = [local.consumer(worker) for worker in range(WORKERS)]
    local.queue.put(messages(0, 2))
    assert local.queue.finish(0)
    for each in messages(0, 2):
        assert ends[0].receive(PROMPTLY) == each.body
        ends[0].done()
    with pytest.raises(EndOfQueue):
        ends[0].receive(PROMPTLY)
    assert ends[1].receive(0) is None
    assert local.queue.join(PROMPTLY)


def test_a_new_consumer_starts_with_an_empty_queue(local: LocalBackend) -> None:
    local.consumer(0)
    other = local.consumer(1)
    local.queue.put(messages(0, 3) + messages(1, 2))
    end = local.consumer(0)
    assert local.queue.depth() == 2
    local.queue.put([message(0, 2)])
    assert taken(end) == [message(0, 2).body]
    assert taken(other) == bodies(messages(1, 2))
    assert local.queue.join(PROMPTLY)


@pytest.mark.parametrize("end", ["killed", "stopped"])
def test_a_consumer_that_keeps_a_lock_in_hand_is_replaced(
    local: LocalBackend, start: Start, end: str
) -> None:
    lost = start(0, consumers.hold_the_lock)
    if end == "killed":
        lost.kill()
    else:
        lost.stop()
    with promptly():
        local.queue.put(messages(0, 3))
        local.queue.nudge([0, 2])
        assert not local.queue.join(0.1)
        assert not local.queue.finish(0)
        fresh = start(0, consumers.echo)
        local.queue.put([message(0, 2)])
        assert fresh.said() == message(0, 2).body
        assert local.queue.finish(0)
        assert fresh.said() == b"end"
        # The other queue has no consumer, and nothing in it.
        assert local.queue.join(PROMPTLY)


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208  only their number counts


@pytest.mark.long
def test_queues_that_were_given_up_leave_nothing_behind(local: LocalBackend) -> None:
    def renew() -> None:
        local.consumer(0)
        local.queue.put(messages(0, local.room * 2, size=50_000))

    renew()
    gc.collect()
    threads, open_before = threading.active_count(), descriptors()
    with promptly():
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
    subprocess.run([sys.executable, "-c", script], cwd=ROOT, timeout=60, check=True)
