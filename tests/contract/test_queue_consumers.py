"""The queue port when consumers come and go: killed, stopped, replaced."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

import pytest

from shared.schema import Message, decode_batch
from tests import consumers
from tests.eventually import eventually
from tests.orderly import ROOT
from tests.queues import (
    PROMPTLY,
    Backend,
    Process,
    bodies,
    messages,
    promptly,
    taken,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.queues import Role


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
