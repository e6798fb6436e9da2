"""Redis as people have it: with rights for each user, behind Sentinels, as a cluster."""

from __future__ import annotations

import re
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from tests.support.eventually import eventually
from tests.support.inputs import order
from tests.support.orderly import ROOT, assert_one_line
from tests.support.scaled import write_orders
from tests.support.server import Server
from tests.support.servers.redis_groups import RedisCluster, Sentinel

if TYPE_CHECKING:
    from tests.conftest import NewRedis
    from tests.support.scaled import Scaled
    from tests.support.servers.redis_server import RedisServer

ORDERS = 2000
RULE = re.compile(r"^ACL SETUSER orderly .*$", re.MULTILINE)


def lead_to(scaled: Scaled, url: str) -> Scaled:
    """Have the services use another Redis."""
    scaled.redis_url = scaled.environment["REDIS_URL"] = url
    return scaled


@pytest.fixture
def clerk(own_redis: RedisServer, on_own_redis: Scaled) -> Scaled:
    """A user who may do what the document says, and no more."""
    (rule,) = RULE.findall((ROOT / "docs/scaled-out.md").read_text())
    own_redis.ask(*rule.replace(">PASSWORD", ">secret").split())
    return lead_to(on_own_redis, f"redis://orderly:secret@127.0.0.1:{own_redis.port}/0")


@pytest.mark.long
def test_the_rights_that_the_document_grants_are_enough(
    clerk: Scaled, own_redis: RedisServer
) -> None:
    """For what a worker leaves behind, too, and for a job that is refused."""
    paying = clerk.pay(workers=1)
    clerk.produce(write_orders(clerk.folder / "orders.jsonl", ORDERS))
    clerk.until_settled(ORDERS)
    name = f"orderly-{{{clerk.ledger_id()}}}"
    own_redis.ask("HSET", "rq:job:stranger", "status", "queued", "origin", name)
    own_redis.ask("RPUSH", f"rq:queue:{name}", "stranger")
    own_redis.ask("RPUSH", f"rq:queue:{name}:intermediate", "left-behind")
    eventually(lambda: own_redis.ask("ZCARD", f"rq:failed:{name}") == 1, within=30)
    eventually(lambda: not own_redis.ask("EXISTS", f"rq:queue:{name}:intermediate"), within=60)
    own_redis.ask("SET", "rq:suspended", "1")
    said = clerk.stop(paying)
    assert "NOPERM" not in said
    assert "away" not in said
    clerk.assert_serial()


def test_rights_that_are_missing_are_named_all_at_once(
    clerk: Scaled, own_redis: RedisServer
) -> None:
    own_redis.ask("ACL", "SETUSER", "orderly", "-blmove", "-evalsha", "-xadd")
    lacking = "no evalsha, blmove, xadd; grant +evalsha +blmove +xadd"
    assert_one_line(clerk("pay"), 3, "queue redis://orderly:***@", "NOPERM", lacking)
    own_redis.ask("ACL", "SETUSER", "orderly", "+@all", "resetkeys", "~orderly:*")
    assert_one_line(clerk("pay"), 3, "NOPERM no keys like rq:*; grant ~rq:*")


@pytest.mark.long
def test_a_right_that_is_taken_away_meanwhile_counts_as_away(
    clerk: Scaled, own_redis: RedisServer
) -> None:
    """Even one that none but the workers need."""
    with closing(Server(clerk)) as server:
        server.start("--workers", "1")
        own_redis.ask("ACL", "SETUSER", "orderly", "-blmove")

        def trouble() -> str:
            return str(server.client.get("/status").json()["queue_trouble"])

        eventually(lambda: "grant +blmove" in trouble(), within=30)
        assert server.place(order("meanwhile")).status_code == 202
        own_redis.ask("ACL", "SETUSER", "orderly", "+blmove")
        clerk.until_settled(1)
        eventually(lambda: trouble() == "None", within=30)
        assert not server.logged(event="worker replaced")
        assert server.stop().code == 0
    clerk.assert_serial()


@pytest.mark.long
@pytest.mark.parametrize("size", [1, 3])
def test_a_cluster_carries(scaled: Scaled, size: int) -> None:
    """Wherever its slots are; what one command needs lies together."""
    with closing(RedisCluster(size)) as cluster:
        lead_to(scaled, cluster.url)
        scaled.environment["REDRIVE_AFTER"] = "600"  # nothing is lost that nudges would make up for
        paying = scaled.pay(workers=2)
        file = write_orders(scaled.folder / "orders.jsonl", ORDERS)
        running = scaled.json("run", file, "--workers", "1")
        assert (running["created"], running["verified"]) == (ORDERS, True)
        name = f"orderly-{{{scaled.ledger_id()}}}".encode()
        assert any(name in key for key in cluster.names())
        assert "worker replaced" not in scaled.stop(paying)
    assert len(scaled.assert_serial().status) == ORDERS


def test_a_cluster_has_one_database(scaled: Scaled) -> None:
    with closing(RedisCluster(1)) as cluster:
        lead_to(scaled, f"{cluster.url[:-1]}3")
        words = "SELECT is not allowed in cluster mode"
        assert_one_line(scaled("pay"), 3, f"queue {scaled.redis_url} ", words)


@pytest.mark.long
def test_sentinels_lead_to_the_primary_before_and_after_a_failover(
    on_own_redis: Scaled, own_redis: RedisServer, new_redis: NewRedis
) -> None:
    replica = new_redis(more=f"replicaof 127.0.0.1 {own_redis.port}")
    with closing(Sentinel(own_redis.port, "tills")) as sentinel:
        # The first one is not there.
        url = f"redis+sentinel://127.0.0.1:1,127.0.0.1:{sentinel.port}/tills/0"
        scaled = lead_to(on_own_redis, url)
        paying = scaled.pay(workers=1)
        with closing(Server(scaled)) as server:
            server.start("--workers", "0")
            assert server.place(order("before")).status_code == 202
            scaled.until_settled(1)
            sentinel.fail_over()
            eventually(lambda: sentinel.primary() == replica.port, within=60)
            assert server.place(order("after")).status_code == 202
            scaled.until_settled(2)
            assert server.stop().code == 0
        assert "worker replaced" not in scaled.stop(paying)
        unknown = scaled("status", REDIS_URL=url.replace("tills", "others"))
        assert "No master found for 'others'" in unknown.out
    scaled.assert_serial()
