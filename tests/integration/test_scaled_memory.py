"""Redis mode leaves nothing behind in Redis, and lives through a Redis that is full."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest
from rq import Queue, Retry
from rq.serializers import JSONSerializer

from shared.queue.redis_keys import queue_name
from shared.schema import encode_nudge
from tests.support.attacks import FUNCTION
from tests.support.eventually import eventually
from tests.support.gateways import hold
from tests.support.orderly import kill, workers_of
from tests.support.scaled import write_orders

if TYPE_CHECKING:
    import redis

    from tests.support.scaled import Scaled

JOBS = 1500
ORDERS = 2000
A_JOB = 500
"""Bytes that a job takes at least, while it is there."""


@pytest.mark.long
def test_jobs_leave_nothing_behind(on_own_redis: Scaled) -> None:
    """Not even one whose worker died over it; in the end there are only three small sets."""
    scaled = on_own_redis
    go = hold(scaled)
    paying = scaled.pay()
    scaled.produce(write_orders(scaled.folder / "orders.jsonl", ORDERS))
    client, name = scaled.redis(), queue_name(scaled.ledger_id())
    waiting = "SELECT count(*) FROM pending WHERE state = 'called'"
    eventually(lambda: scaled.count(waiting) > 0, what="calls are out")
    kill(workers_of(paying.pid)[0])
    go.touch()
    scaled.until_settled(ORDERS)
    eventually(lambda: scaled.ready(paying) == 2, within=30, what="it is replaced")
    before = _dataset(client)
    _push_nudges(scaled, client, name, JOBS)
    eventually(lambda: not client.exists(f"rq:queue:{name}"), within=60, what="all are taken")
    lasting = {b"rq:queues", b"rq:workers", f"rq:workers:{name}".encode()}
    # The dead worker's job comes back when it counts as abandoned, and is done then.
    eventually(lambda: _lasting(client) == lasting, within=100, what="nothing else lasts")
    # One that was idle counts as alive for eighty seconds.
    eventually(lambda: client.scard("rq:workers") == 2, within=100, what="the dead is forgotten")
    assert [client.scard(key) for key in sorted(lasting)] == [1, 2, 2]
    assert _dataset(client) - before < JOBS * A_JOB / 5
    eventually(lambda: scaled.meters()["nudge"] >= JOBS, what="they were jobs that were done")
    scaled.stop(paying)
    # Of workers that have left in good order nothing lasts, either.
    eventually(lambda: _lasting(client) == {b"rq:queues"}, what="the workers are gone")
    assert len(scaled.assert_serial().status) == ORDERS


@pytest.mark.long
def test_a_full_redis_holds_up_nobody_for_good(on_own_redis: Scaled) -> None:
    """Intake goes on without it, the workers stay, and all is settled when it has room again."""
    scaled = on_own_redis
    file = write_orders(scaled.folder / "orders.jsonl", ORDERS)
    lines = file.read_text().splitlines(keepends=True)
    running = scaled.start("run", "-", "--workers", "2", "--json", stdin=subprocess.PIPE)
    assert running.stdin is not None
    running.stdin.write("".join(lines[:200]))
    running.stdin.flush()
    scaled.until_settled(200)
    client = scaled.redis()
    client.config_set("maxmemory-policy", "noeviction")
    client.config_set("maxmemory", "1")
    running.stdin.write("".join(lines[200:]))
    running.stdin.flush()
    scaled.until_accepted(ORDERS)
    assert scaled.left_open() > 0
    workers = workers_of(running.pid)
    client.config_set("maxmemory", "0")
    _, err = running.communicate(timeout=90)
    assert running.returncode == 0, err
    assert "worker replaced" not in err
    assert len(workers) == 2
    assert len(scaled.assert_serial().status) == ORDERS


def _push_nudges(scaled: Scaled, client: redis.Redis, name: str, count: int) -> None:
    """Push what producers push, but more of it than they would."""
    queue = Queue(name, connection=client, serializer=JSONSerializer)
    messages = [encode_nudge(scaled.ledger_id(), number % 16).decode() for number in range(count)]
    queue.enqueue_many(
        [
            Queue.prepare_data(
                FUNCTION, args=(each,), result_ttl=0, retry=Retry(max=3), description="a nudge"
            )
            for each in messages
        ]
    )


def _lasting(client: redis.Redis) -> set[bytes]:
    """Find the keys that stay until somebody takes them away."""
    return {key for key in client.scan_iter() if client.ttl(key) == -1}


def _dataset(client: redis.Redis) -> int:
    """The bytes that Redis spends on keys and values."""
    return int(client.info("memory")["used_memory_dataset"])
