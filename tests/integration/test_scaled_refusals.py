"""Redis that answers PING and refuses the rest: said, seen, waited for, and mended without us."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from tests.integration.test_http_metrics import scrape
from tests.support.eventually import eventually
from tests.support.inputs import order
from tests.support.orderly import assert_one_line, finish
from tests.support.scaled import write_orders
from tests.support.server import Server
from tests.support.servers.relay import Relay

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.conftest import NewRedis
    from tests.support.scaled import Scaled
    from tests.support.servers.redis_server import RedisServer

UP = ("orderly_queue_up",)
REPLICA = "READONLY You can't write against a read only replica."


@pytest.fixture
def relay(on_own_redis: Scaled, own_redis: RedisServer) -> Iterator[Relay]:
    """What stands between the services and their Redis."""
    with closing(Relay(own_redis.port)) as made:
        on_own_redis.redis_url = on_own_redis.environment["REDIS_URL"] = made.url
        yield made


def trouble(server: Server) -> str:
    """Why Redis is away, as a service says it that is ready all the same."""
    answer = server.client.get("/readyz")
    assert (answer.status_code, answer.json()["status"]) == (200, "ready")
    return str(answer.json().get("queue_trouble", ""))


def until_told(server: Server, words: str) -> None:
    eventually(lambda: words in trouble(server), within=30, what=words)


@pytest.mark.long
@pytest.mark.parametrize(
    ("error", "words"),
    [
        ("CROSSSLOT Keys in request don't hash to the same slot", "CROSSSLOT"),
        ("NOPERM User clerk has no permissions to run the 'exists' command", "docs/scaled-out.md"),
        ("NOAUTH Authentication required.", "see to REDIS_URL and REDIS_PASSWORD_FILE"),
        ("ERR unknown command 'EXISTS'", "unknown command 'EXISTS'"),
    ],
    ids=lambda value: value.split()[0],
)
def test_what_will_not_pass_ends_a_start_in_one_line(
    on_own_redis: Scaled, relay: Relay, error: str, words: str
) -> None:
    scaled = on_own_redis
    relay.refuse(error)
    orders = write_orders(scaled.folder / "orders.jsonl", 1)
    commands = ("pay",), ("serve", "--port", "0"), ("run", orders), ("produce", orders)
    started = [scaled.start(*command) for command in commands]
    for process in started:
        assert_one_line(finish(process), 3, f"queue {relay.url} ", words)
    assert scaled.json("status")["created"] == 0


@pytest.mark.long
def test_whatever_is_refused_counts_as_away_and_is_seen_until_it_passes(
    on_own_redis: Scaled, relay: Relay
) -> None:
    scaled = on_own_redis
    passing = [
        REPLICA,
        "LOADING Redis is loading the dataset in memory",
        "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.",
        "MISCONF Redis is configured to save RDB snapshots, but it's unable to persist to disk.",
        "CLUSTERDOWN The cluster is down",
        "BUSY Redis is busy running a script.",
        "NOREPLICAS Not enough good replicas to write.",
        "TRYAGAIN Multiple keys request during rehashing of slot",
        "EXECABORT Transaction discarded because of previous errors.",
        "NOPERM User clerk has no permissions to run the 'evalsha' command",
        "NOAUTH Authentication required.",
        "MOVED 3999 127.0.0.1:1",
        "ERR upstream is gone",
    ]
    log = scaled.folder / "pay.log"
    with closing(Server(scaled)) as server, log.open("w") as said:
        relay.refuse(REPLICA)  # is waited for
        paying = scaled.start("pay", "--workers", "1", stderr=said)
        server.start("--workers", "0")
        # Each has to find it well once: until then some of what follows is the end.
        for event in "Redis is away; nudges are owed", "Redis is back":
            eventually(lambda: server.logged(event=event), within=60)  # noqa: B023
            eventually(lambda: event in log.read_text(), within=60)  # noqa: B023
            relay.refuse("")
        eventually(lambda: scaled.ready(paying) == 1, within=60)
        for number, error in enumerate(passing):
            relay.refuse(error)
            until_told(server, error.removeprefix("ERR ").partition(" ")[0])
            assert server.place(order(f"o-{number}")).status_code == 202
        scaled.environment["HTTP_PORT"] = str(server.port)
        for service in "serve", "pay":
            unwell = scaled("healthcheck", service)
            assert_one_line(unwell, 1, "Redis is away: upstream is gone")
        assert "Redis is away  upstream is gone" in scaled("status").out
        assert server.client.get("/status").json()["queue_trouble"] == "upstream is gone"
        assert scrape(server)[UP] == 0
        assert scaled.settled() < len(passing)

        relay.refuse("")
        scaled.until_settled(len(passing))
        eventually(lambda: not trouble(server), within=30)
        assert scrape(server)[UP] == 1
        assert scaled.json("status")["queue_trouble"] is None
        for service in "serve", "pay":
            assert scaled("healthcheck", service).code == 0
        assert (
            server.logged(event="Redis is away; nudges are owed", error=f"{REPLICA[:-1]}; x") == []
        )
        away = [each["error"] for each in server.logged(event="Redis is away; nudges are owed")]
        assert any(each.startswith("READONLY You can't write") for each in away)
        scaled.stop(paying)
        assert "worker replaced" not in log.read_text()
        assert server.stop().code == 0
    scaled.assert_serial()


@pytest.mark.long
@pytest.mark.parametrize(
    "answer",
    [b"+OK\r\n", b"*-1\r\n", b"HTTP/1.1 400 Bad Request\r\n\r\n", b":1\r\n", b""],
    ids=["word", "nothing", "http", "number", "silence"],
)
def test_an_answer_that_is_none_is_waited_out(
    on_own_redis: Scaled, relay: Relay, answer: bytes
) -> None:
    scaled = on_own_redis
    with closing(Server(scaled)) as server:
        server.start("--workers", "1")
        assert server.place(order("before")).status_code == 202
        scaled.until_settled(1)
        relay.answer, relay.is_silent = answer, not answer
        eventually(lambda: trouble(server), within=30)
        assert server.place(order("meanwhile")).status_code == 202
        assert scaled("status").code == 0
        relay.answer, relay.is_silent = b"", False
        relay.cut()
        scaled.until_settled(2)
        eventually(lambda: not trouble(server), within=30)
        assert not server.logged(event="worker replaced")
        assert server.stop().code == 0
    scaled.assert_serial()


@pytest.mark.long
def test_after_a_failover_orders_are_settled_although_old_connections_stay(
    on_own_redis: Scaled, own_redis: RedisServer, relay: Relay, new_redis: NewRedis
) -> None:
    """The old primary goes on as a replica, and whoever was connected still is."""
    scaled = on_own_redis
    other = new_redis(more=f"replicaof 127.0.0.1 {own_redis.port}")
    paying = scaled.pay(workers=2)
    with closing(Server(scaled)) as server:
        server.start("--workers", "0")
        assert server.place(order("before")).status_code == 202
        scaled.until_settled(1)
        other.ask("REPLICAOF", "NO", "ONE")
        own_redis.ask("REPLICAOF", "127.0.0.1", str(other.port))
        relay.target = other.port
        for number in range(5):
            assert server.place(order(f"after-{number}")).status_code == 202
        eventually(lambda: scaled.settled() == 6, within=15, what="all are settled")
        assert server.stop().code == 0
    assert "worker replaced" not in scaled.stop(paying)
    scaled.assert_serial()


@pytest.mark.long
def test_a_password_that_is_changed_is_read_again(
    on_own_redis: Scaled, own_redis: RedisServer
) -> None:
    """Workers, producers and the buttons of the page connect anew with what the file has then."""
    scaled = on_own_redis
    secret = scaled.folder / "redis-password"

    def change(password: str) -> None:
        own_redis.ask("CONFIG", "SET", "requirepass", password)
        own_redis.url = f"redis://:{password}@127.0.0.1:{own_redis.port}/0"
        own_redis.ask("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")

    change("secret-1")
    secret.write_text("secret-1\n")
    scaled.environment |= {"REDIS_PASSWORD_FILE": "redis-password", "CHAOS": "1"}
    paying = scaled.pay(workers=1)
    with closing(Server(scaled)) as server:
        server.start("--workers", "0")
        change("secret-2")
        until_told(server, "refuses the user or the password")
        assert server.place(order("between")).status_code == 202
        assert_one_line(scaled("healthcheck", "pay"), 1, "refuses the user or the password")
        secret.write_text("secret-2\n")
        scaled.until_settled(1)
        eventually(lambda: not trouble(server), within=30)
        eventually(lambda: server.client.post("/chaos/pause").status_code == 200, within=30)
        assert server.stop().code == 0
    said = scaled.stop(paying)
    assert "worker replaced" not in said
    assert "secret-2" not in said
    scaled.assert_serial()
