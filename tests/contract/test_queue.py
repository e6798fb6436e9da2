"""The queue port: what every backend promises to a producer, and to a consumer.

How messages are shared among several consumers is each backend's own affair, and in a module of
its own.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

from shared.schema import Message, encode_batch
from tests.support.queues import LEDGER, PROMPTLY, bodies, message, messages, nudge, promptly, taken

if TYPE_CHECKING:
    from tests.support.queues import Backend


# What is delivered


def test_a_consumer_gets_messages_in_the_order_in_which_they_were_put(backend: Backend) -> None:
    end = backend.consumer(0)
    backend.queue.put(messages(0, 7))
    backend.queue.put(messages(0, 5, start=7))
    assert taken(end) == bodies(messages(0, 12))


def test_a_message_is_left_out_while_another_for_its_partition_is_on_its_way(
    backend: Backend,
) -> None:
    end = backend.consumer(0)
    backend.queue.put([message(0, 1), message(0, 2), message(2)])
    backend.queue.put([message(0, 3)])
    backend.queue.nudge([0])
    assert backend.queue.depth() == 2
    assert taken(end) == bodies([message(0, 1), message(2)])
    backend.queue.flush()
    assert taken(end) == []


def test_a_message_is_sent_as_soon_as_the_one_before_it_was_taken(backend: Backend) -> None:
    ends = [backend.consumer(0)]
    for first in (1, 2, 3):
        backend.queue.put([message(0, first)])
        assert ends[0].receive(PROMPTLY) == message(0, first).body  # and it is not done yet
    backend.queue.nudge([0])
    assert ends[0].receive(PROMPTLY) == nudge(0)


def test_a_message_arrives_byte_by_byte_as_it_was_put(backend: Backend) -> None:
    end = backend.consumer(0)
    texts = ["\0", "äöü€😀\ufeff\u2028", '{"a": 1}\r\n\\"\x7f', "0" * 1_000_000]
    sent = [
        Message(2 * number, encode_batch(LEDGER, 2 * number, 1, [text.encode()]))
        for number, text in enumerate(texts)
    ]
    backend.queue.put(sent)
    assert taken(end) == bodies(sent)


def test_a_nudge_is_a_message_of_this_ledger_without_orders(backend: Backend) -> None:
    end = backend.consumer(0)
    backend.queue.nudge([6, 0, 2])
    assert taken(end) == [nudge(0), nudge(2), nudge(6)]


def test_without_a_message_receive_says_none_at_its_time(backend: Backend) -> None:
    end = backend.consumer(0)
    started = time.monotonic()
    assert end.receive(0.2) is None
    assert 0.19 <= time.monotonic() - started < PROMPTLY
    with promptly():
        assert end.receive(0) is None


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
    backend.queue.flush()
    while more := taken(end):
        nudges += more
        backend.queue.flush()
    assert nudges == [nudge(each.partition) for each in sent[len(found) :]]


def test_a_partition_that_is_owed_a_nudge_gets_that_before_new_messages(backend: Backend) -> None:
    end = backend.consumer(0)
    *_, owed = sent = messages(0, backend.room + 1)
    backend.queue.put(sent)
    taken(end)
    backend.queue.put([message(owed.partition, 2)])  # the journal will be read anyway
    backend.queue.flush()
    assert taken(end) == [nudge(owed.partition)]
    backend.queue.put([message(owed.partition, 3)])
    assert taken(end) == [message(owed.partition, 3).body]


def test_nudges_for_which_there_is_no_room_are_owed_once_each(backend: Backend) -> None:
    end = backend.consumer(0)
    backend.queue.put(messages(0, backend.room))
    for _ in range(3):
        with promptly():
            backend.queue.nudge([1000, 1002])
    taken(end)
    backend.queue.flush()
    assert taken(end) == [nudge(1000), nudge(1002)]


def test_several_threads_may_put_at_once(backend: Backend) -> None:
    end = backend.consumer(0)
    found: list[bytes] = []
    reader = threading.Thread(target=lambda: found.extend(taken(end)))
    reader.start()
    producers = [
        threading.Thread(target=backend.queue.put, args=(messages(0, 50, start=50 * own),))
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
        sent = messages(0, 50, start=50 * own)
        mine = set(bodies(sent))
        ours = [body for body in found if body in mine]
        assert ours == [body for body in bodies(sent) if body in ours]
        for each in sent:
            assert (each.body in ours) != (nudge(each.partition) in found)


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
