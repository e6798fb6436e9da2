"""The queue port: what every backend promises to a producer, and to the consumers at the end."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

import pytest

from shared.queue.port import Deliveries, EndOfQueue
from shared.schema import Message, encode_nudge
from tests.queues import (
    LEDGER,
    PROMPTLY,
    WORKERS,
    Backend,
    bodies,
    messages,
    promptly,
    taken,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from multiprocessing.connection import Connection

    Role = Callable[[Deliveries, Connection], None]


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
