"""What the redis queue promises beyond the port: it is shared, and Redis may go away or forget."""

from __future__ import annotations

import signal
import threading
from typing import TYPE_CHECKING

import pytest

from shared.queue import redis_queue
from shared.queue.redis_queue import ROOM, RedisQueue
from tests.support.eventually import eventually
from tests.support.orderly import kill
from tests.support.queues import LEDGER, PROMPTLY, bodies, message, messages, nudge, promptly, taken
from tests.support.rq_consumer import RedisBackend, RedisDeliveries

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.conftest import NewRedis
    from tests.support.servers.redis_server import RedisServer


@pytest.fixture
def second(remote: RedisBackend) -> Iterator[RedisQueue]:
    """Another producer's end of the same queue."""
    queue = RedisQueue(remote.url, LEDGER)
    yield queue
    queue.close()


def test_any_consumer_takes_what_comes_next_of_any_partition(remote: RedisBackend) -> None:
    ends = [remote.consumer(0), remote.consumer(1)]
    remote.queue.put(messages(0, 4))
    found = [end.receive(PROMPTLY) for end in (*ends, *ends)]
    assert found == bodies(messages(0, 4))


def test_producers_share_room_and_do_not_repeat_one_another(
    remote: RedisBackend, second: RedisQueue
) -> None:
    remote.queue.put(messages(0, 40))
    second.put(messages(0, 40))  # on their way already
    second.put(messages(1, 40))
    assert remote.queue.depth() == second.depth() == ROOM
    end = remote.consumer(0)
    assert taken(end) == bodies(messages(0, 40) + messages(1, ROOM - 40))
    remote.queue.flush()
    assert taken(end) == []
    second.flush()
    assert taken(end) == [nudge(each.partition) for each in messages(1, 40)[ROOM - 40 :]]


def test_what_is_queued_outlasts_its_producer(remote: RedisBackend, second: RedisQueue) -> None:
    second.put(messages(0, 3))
    second.close()
    assert taken(remote.consumer(0)) == bodies(messages(0, 3))


def test_ledgers_on_one_server_do_not_meet(remote: RedisBackend) -> None:
    other = RedisQueue(remote.url, f"{LEDGER}-other")
    stranger = RedisDeliveries(remote.url, f"{LEDGER}-other")
    try:
        remote.queue.put(messages(0, 3))
        other.nudge([0])
        (told,) = taken(stranger)
        assert f'"{LEDGER}-other"'.encode() in told
        assert remote.queue.depth() == 3
        assert taken(remote.consumer(0)) == bodies(messages(0, 3))
    finally:
        stranger.close()
        other.close()


def test_a_message_that_seems_to_be_lost_stands_for_those_after_it_only_for_a_while(
    remote: RedisBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_queue, "_ON_ITS_WAY_SECONDS", 0.05)
    remote.queue.put([message(0, 1)])

    def is_sent_anew() -> bool:
        remote.queue.put([message(0, 2)])
        return remote.queue.depth() == 2

    eventually(is_sent_anew)


def test_what_a_consumer_took_and_never_began_comes_again(remote: RedisBackend) -> None:
    lost, other = remote.consumer(0), remote.consumer(1)
    remote.queue.put([message(0)])
    assert lost.receive(PROMPTLY) == message(0).body
    assert other.receive(0) is None
    other.recover()  # sees it for the first time: it may be about to begin
    assert other.receive(0) is None
    other.recover()
    assert taken(other) == [message(0).body]
    assert remote.queue.join(PROMPTLY)


# While Redis is away


@pytest.fixture
def apart(new_redis: NewRedis) -> Iterator[tuple[RedisServer, RedisBackend]]:
    """A queue on a server that may be stopped and emptied; it does not rest for long."""
    server = new_redis()
    backend = RedisBackend(server.url)
    yield server, backend
    if not server.is_running:
        server.start()
    backend.close()


def test_while_redis_is_away_nobody_waits_and_nudges_are_owed(
    apart: tuple[RedisServer, RedisBackend],
) -> None:
    server, backend = apart
    backend.queue.put(messages(0, 2))
    server.stop()
    with promptly():
        for _ in range(100):
            backend.queue.put(messages(1, 3))
            backend.queue.nudge([0])
            backend.queue.flush()
        assert backend.queue.is_away
        assert backend.queue.depth() == 0
        assert not backend.queue.join(0.1)
    server.start()
    end = backend.consumer(0)
    found: set[bytes] = set()

    def came() -> bool:
        backend.queue.flush()
        found.update(taken(end))
        return found >= {nudge(each.partition) for each in messages(1, 3)}

    eventually(came, within=PROMPTLY, what="the nudges that were owed")
    assert set(bodies(messages(0, 2))) <= found
    assert not backend.queue.is_away


def test_redis_may_come_back_empty(apart: tuple[RedisServer, RedisBackend]) -> None:
    server, backend = apart
    backend.queue.put(messages(0, ROOM + 3))
    server.empty()
    assert backend.queue.depth() == 0
    # No mark is left, so all is sent again that anybody asks for.
    backend.queue.put(messages(0, 2))
    backend.queue.nudge([1])
    end = backend.consumer(0)
    found = taken(end)
    assert set(bodies(messages(0, 2))) | {nudge(1)} <= set(found)


def test_who_takes_orders_in_does_not_wait_for_somebody_who_waits_for_redis(
    new_redis: NewRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_queue, "ANSWER_SECONDS", 60.0)
    server = new_redis()
    backend = RedisBackend(server.url)
    backend.queue.put(messages(0, 1))
    kill(server.pid, signal.SIGSTOP)
    waiting = threading.Thread(target=backend.queue.nudge, args=([1],))
    waiting.start()
    try:
        eventually(backend.queue._sending.locked, what="a nudge is being sent")
        with promptly():
            backend.queue.put([message(2)])
        assert waiting.is_alive()
    finally:
        kill(server.pid, signal.SIGCONT)
        waiting.join()
    backend.queue.flush()
    assert {nudge(1), nudge(2)} <= set(taken(backend.consumer(0)))
    backend.close()
