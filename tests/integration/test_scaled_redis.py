"""Redis mode, whatever happens to Redis: it only carries, so everything is settled all the same."""

from __future__ import annotations

import subprocess
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from tests.support.eventually import eventually
from tests.support.gateways import hold, slow_down
from tests.support.inputs import order
from tests.support.scaled import result, write_orders
from tests.support.server import Server, lines

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.scaled import Scaled
    from tests.support.servers.redis_server import RedisServer

ORDERS = 3000
PARTITIONS = 16
# Far fewer messages than the backlogs here have batches.
FEW = 40


def split(file: Path) -> tuple[str, str, str]:
    """Cut an input into what comes before, while and after something happens."""
    text = file.read_text().splitlines(keepends=True)
    third = len(text) // 3
    return "".join(text[:third]), "".join(text[third : 2 * third]), "".join(text[2 * third :])


@pytest.mark.parametrize(
    "kill",
    [
        pytest.param(False, id="restarted", marks=pytest.mark.long),
        pytest.param(True, id="killed"),
    ],
)
def test_redis_goes_and_comes_back_in_mid_run(
    on_own_redis: Scaled, own_redis: RedisServer, *, kill: bool
) -> None:
    """What is fed while it is away is accepted then, and settled when it is there again."""
    scaled = on_own_redis
    first, second, third = split(write_orders(scaled.folder / "orders.jsonl", ORDERS))
    running = scaled.start("run", "-", "--workers", "2", "--json", stdin=subprocess.PIPE)
    assert running.stdin is not None
    running.stdin.write(first)
    running.stdin.flush()
    scaled.until_settled(1)
    own_redis.stop(kill=kill)
    running.stdin.write(second)
    running.stdin.flush()
    scaled.until_accepted(2 * ORDERS // 3)
    own_redis.start()
    running.stdin.write(third)
    _, err = running.communicate(timeout=90)
    assert running.returncode == 0, err
    assert "worker replaced" not in err
    assert "Redis is away" in err
    assert len(scaled.assert_serial().status) == ORDERS


@pytest.mark.long
def test_redis_is_emptied_in_mid_run(on_own_redis: Scaled, own_redis: RedisServer) -> None:
    scaled = on_own_redis
    slow_down(scaled, 0.0005)
    paying = scaled.pay()
    producing = scaled.start(
        "produce", write_orders(scaled.folder / "orders.jsonl", ORDERS), "--rate", "1500", "--json"
    )
    for goal in range(300, ORDERS, 300):
        scaled.until_accepted(goal)
        own_redis.empty()
    assert result(producing)["created"] == ORDERS
    scaled.until_settled(ORDERS)
    assert "worker replaced" not in scaled.stop(paying)
    assert len(scaled.assert_serial().status) == ORDERS


@pytest.mark.long
def test_redis_is_emptied_after_the_producers_have_gone(
    on_own_redis: Scaled, own_redis: RedisServer
) -> None:
    """Only who pays is left, with one customer in hand; it finds the other, and needs no nudges
    to go on with either.
    """
    scaled = on_own_redis
    go = hold(scaled)
    scaled.environment["BATCH_SIZE"] = "20"
    paying = scaled.pay(workers=1)
    scaled.produce(write_orders(scaled.folder / "orders.jsonl", ORDERS, customers=2))
    assert scaled.count("SELECT count(*) FROM heads WHERE number > 0") == 2
    waiting = "SELECT count(DISTINCT partition) FROM pending"
    eventually(lambda: scaled.count(waiting) == 2, what="both are in hand")
    own_redis.empty()
    go.touch()
    scaled.until_settled(ORDERS)
    scaled.stop(paying)
    meters = scaled.meters()
    assert meters.pop("settled") == ORDERS
    assert meters.pop("charges") == 2999  # one order costs nothing
    assert sum(meters.values()) < FEW, meters
    assert len(scaled.assert_serial().status) == ORDERS


@pytest.mark.long
def test_what_starts_without_redis_settles_when_it_comes(
    on_own_redis: Scaled, own_redis: RedisServer
) -> None:
    """All three services, each with its own orders; what they accept is accepted at once."""
    scaled = on_own_redis
    own_redis.stop()
    with closing(Server(scaled)) as server:
        # All at once: each of them gives up if Redis has not come after a while.
        paying = scaled.start("pay", "--workers", "1")
        running = scaled.start(
            "run", write_orders(scaled.folder / "orders.jsonl", 1000), "--workers", "1", "--json"
        )
        server.start()
        answers = server.bulk(lines(order(f"http-{number}") for number in range(500)))
        assert {answer["code"] for answer in answers} == {202}
        scaled.until_accepted(1500)
        assert scaled.settled() == 0
        own_redis.start()
        assert result(running)["verified"] is True
        scaled.until_settled(1500)
        assert "worker replaced" not in scaled.stop(paying)
        assert server.stop().code == 0
    assert len(scaled.assert_serial().status) == 1500


@pytest.mark.long
def test_a_backlog_needs_few_messages(on_own_redis: Scaled, own_redis: RedisServer) -> None:
    """Those who come to it say once where to look, and then pay without being told again."""
    scaled = on_own_redis
    scaled.environment |= {"BATCH_SIZE": "10", "REDRIVE_AFTER": "600"}
    scaled.produce(write_orders(scaled.folder / "orders.jsonl", ORDERS // 2))
    own_redis.empty()
    with closing(Server(scaled)) as server:
        server.start("--workers", "2")
        scaled.until_settled(ORDERS // 2)
        assert metric(server, "orderly_nudges_total") == PARTITIONS
        assert server.stop().code == 0
    meters = scaled.meters()
    assert meters.pop("settled") == ORDERS // 2
    assert PARTITIONS <= sum(meters.values()) < FEW, meters
    scaled.assert_serial()


def metric(server: Server, name: str) -> float:
    """Add up a metric over its labels."""
    page = server.client.get("/metrics").text
    return sum(float(line.split()[-1]) for line in page.splitlines() if line.startswith(name))
