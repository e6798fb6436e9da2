"""The queue port when consumers come and go: killed, stopped, replaced.

What was on its way to a consumer that died may be lost or come to another, as the backend has it;
the journal knows it all. The port promises that nobody else is held up.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from shared.schema import read_header
from tests.support import consumers
from tests.support.eventually import eventually
from tests.support.queues import PROMPTLY, bodies, message, messages, promptly

if TYPE_CHECKING:
    from tests.contract.conftest import Start
    from tests.support.queues import Backend, Role

LATE = {1000, 1001, 1002}
"""Partitions of which nothing was on its way before."""


def test_a_consumer_works_in_another_process(backend: Backend, start: Start) -> None:
    consumer = start(0, consumers.echo)
    backend.queue.put(messages(0, 3))
    assert [consumer.said() for _ in range(3)] == bodies(messages(0, 3))
    assert backend.queue.join(PROMPTLY)
    eventually(lambda: backend.queue.depth() == 0, what="all is counted as done")


def test_each_message_is_taken_by_one_of_several_consumers(backend: Backend) -> None:
    ends = [backend.consumer(0), backend.consumer(1)]
    sent = messages(0, 6) + messages(1, 6)
    backend.queue.put(sent)
    found: list[bytes] = []
    for _ in range(6):
        for end in ends:
            body = end.receive(PROMPTLY)
            assert body is not None
            found.append(body)
            end.done()
    assert sorted(found) == sorted(bodies(sent))
    assert backend.queue.join(PROMPTLY)


@pytest.mark.long
@pytest.mark.parametrize("end", ["killed", "stopped"])
@pytest.mark.parametrize("role", [consumers.echo, consumers.hold])
def test_a_consumer_that_is_killed_or_stopped_holds_nobody_up(
    backend: Backend, start: Start, role: Role, end: str
) -> None:
    lost = start(0, role)
    if role is consumers.hold:
        backend.queue.put(messages(0, 1, start=100))
        assert lost.said() == messages(0, 1, start=100)[0].body
    lost.wait_until_idle()
    if end == "killed":
        lost.kill()
    else:
        lost.stop()
    waiting = messages(0, backend.room * 2, size=10_000)
    with promptly():
        backend.queue.put(waiting)
        backend.queue.flush()
        backend.queue.nudge([0, 2])
        assert backend.queue.depth() > 0
        assert not backend.queue.join(0.1)

    # The first may have been handed to the one that is lost.
    kept = set() if backend.is_forgetful else {each.partition for each in waiting[1:]}
    ends = [start(worker, consumers.echo) for worker in range(backend.places)]
    backend.queue.put([message(partition) for partition in LATE])
    heard: set[int] = set()

    def heard_all() -> bool:
        backend.queue.flush()  # what found no room was dropped, and a nudge is owed
        for each in ends:
            heard.update(read_header(body).partition for body in each.said_so_far())
        return heard >= LATE | kept

    eventually(heard_all, within=PROMPTLY, what="what was put arrives")
    if backend.is_forgetful:
        assert heard == LATE
        assert backend.queue.join(PROMPTLY)
        eventually(lambda: backend.queue.depth() == 0, what="all is counted as done")
