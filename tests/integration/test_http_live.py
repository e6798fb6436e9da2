"""The stream of snapshots: whole, from counters, shared by all who look; and the page's files."""

from __future__ import annotations

import re
import signal
from contextlib import ExitStack, closing
from itertools import islice, pairwise
from typing import TYPE_CHECKING

import httpx
import pytest

from tests.support.eventually import eventually
from tests.support.ledgers import order
from tests.support.listening import listening, snapshot
from tests.support.server import Server, lines, problem_of

if TYPE_CHECKING:
    from tests.support.scaled import Scaled
    from tests.support.servers.postgres_server import PostgresServer
    from tests.support.servers.redis_server import RedisServer

TOTALS = ("created", "paid", "declined", "dead", "open", "paid_amount")


def test_a_snapshot_says_what_the_status_says(any_shop: Server) -> None:
    any_shop.bulk(lines([order(f"live-{number}", f"live-{number}") for number in range(40)]))
    status = any_shop.settle()

    def agrees() -> bool:
        found = snapshot(any_shop)
        assert found["balanced"]
        return {name: found[name] for name in TOTALS} == {name: status[name] for name in TOTALS}

    eventually(agrees)
    found = snapshot(any_shop)
    assert found["mode"] == any_shop.orderly.environment.get("QUEUE_MODE", "local")
    assert len(found["partitions"]) == 16
    assert sum(partition["settled"] for partition in found["partitions"]) >= status["created"]

    def has_the_same_workers() -> bool:
        """They are reported twice a second, and not before there is something to report."""
        known = {each["worker"] for each in any_shop.client.get("/status").json()["workers"]}
        return known == {each["worker"] for each in snapshot(any_shop)["workers"]} != set()

    eventually(has_the_same_workers)


def test_it_shows_the_latest_orders_and_the_lanes_that_they_took(any_shop: Server) -> None:
    fields = order("live-latest", "live-customer")
    assert any_shop.place(fields).status_code == 202
    any_shop.settle()
    story = any_shop.client.get("/orders/live-latest").json()

    def latest() -> bool:
        found = snapshot(any_shop)
        assert len(found["orders"]) <= 50
        first = found["orders"][0]
        return (first["order_id"], first["status"]) == ("live-latest", "paid")

    def held() -> bool:
        found = snapshot(any_shop)
        holder = found["partitions"][story["partition"]]["worker"]
        return holder in {each["worker"] for each in found["workers"]}

    eventually(latest)
    eventually(held)  # a worker tells now and then which partition it is at


@pytest.mark.long
def test_it_has_at_most_four_snapshots_a_second(server: Server) -> None:
    server.start()
    server.client.post("/generator", json={"orders": 4000, "rate": 1000})
    with listening(server) as snapshots:
        found = list(islice(snapshots, 13))
    times = [each["at"] for each in found]
    assert times[-1] - times[1] >= 2.4  # the first comes at once
    assert all(early <= late for early, late in pairwise(times))
    assert all(each["created"] == sum(each[name] for name in TOTALS[1:5]) for each in found)
    assert all(each["created"] >= each["generator"]["made"] for each in found)


def test_there_is_a_history_when_somebody_looks_for_the_first_time(server: Server) -> None:
    server.start()
    server.bulk(lines([order(f"before-{number}") for number in range(500)]))
    server.settle()

    def told() -> bool:
        points = snapshot(server)["points"]
        return any(points["accepted"]) and any(points["settled"]) and any(points["p99"])

    eventually(told)
    found = snapshot(server)
    columns = [found["points"][name] for name in ("accepted", "settled", "median", "p99")]
    assert len({len(column) for column in columns}) == 1
    # Of seconds that are not quite seconds: the first may be half of one.
    assert 250 <= sum(filter(None, columns[0])) <= 1000
    assert [mark["label"] for mark in found["marks"]] == ["service started"]


def test_who_comes_after_the_last_place_is_told_so(server: Server) -> None:
    server.start()
    limits = httpx.Limits(max_connections=None)
    with ExitStack() as stack:
        client = stack.enter_context(
            httpx.Client(base_url=server.url, limits=limits, trust_env=False, timeout=20)
        )
        texts = []
        for _ in range(64):
            response = stack.enter_context(client.stream("GET", "/events"))
            assert response.status_code == 200
            texts.append(response.iter_lines())
            next(texts[-1])
        problem_of(client.get("/events"), 503, "too-many-listeners")
        assert server.place(order("not-disturbed")).status_code == 202
    eventually(lambda: server.client.head("/events").status_code == 200)


@pytest.mark.long
def test_a_listener_that_does_not_read_misses_snapshots_and_holds_up_nobody(
    server: Server,
) -> None:
    server.start()
    with server.connected() as idle:
        idle.sendall(b"GET /events HTTP/1.1\r\nhost: localhost\r\n\r\n")
        server.client.post("/generator", json={"orders": 3000, "rate": 1500})
        with listening(server) as snapshots:
            list(islice(snapshots, 10))
        eventually(lambda: server.settle()["created"] == 3000)
        with listening(server) as snapshots:
            # The first may be a quarter of a second old: it is the latest that others have got.
            eventually(lambda: next(snapshots)["created"] == 3000)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_service_that_stops_says_so_and_ends_the_streams(
    any_server: Server, number: signal.Signals
) -> None:
    any_server.start()
    with listening(any_server) as snapshots:
        assert not next(snapshots)["stopping"]
        any_server.send(number)
        last = list(snapshots)[-1]
    assert last["stopping"]
    # It does not wait for open pages as it would for requests.
    assert any_server.wait(within=8).code == 0


@pytest.mark.long
def test_a_ledger_that_is_away_is_said_and_the_stream_goes_on(
    on_own_postgres: Scaled, own_postgres: PostgresServer
) -> None:
    with closing(Server(on_own_postgres)) as server:
        server.start()
        with listening(server) as snapshots:
            assert next(snapshots)["trouble"] is None
            own_postgres.stop()
            away = next(each for each in snapshots if each["trouble"])
            assert away["created"] == 0
            assert away["read"] < away["at"]
            own_postgres.start()
            back = next(each for each in snapshots if not each["trouble"])
        labels = [mark["label"] for mark in back["marks"]]
        assert labels[-2:] == ["ledger away", "ledger back"]


def test_a_redis_that_is_away_is_said_and_the_figures_go_on(
    on_own_redis: Scaled, own_redis: RedisServer
) -> None:
    with closing(Server(on_own_redis)) as server:
        server.start()
        with listening(server) as snapshots:
            assert not next(snapshots)["cut_off"]
            own_redis.stop()
            assert server.place(order("meanwhile")).status_code == 202
            away = next(each for each in snapshots if each["cut_off"])
            assert away["trouble"] is None
            assert str(own_redis.port) in away["queue_trouble"]
            assert next(each for each in snapshots if each["open"] == 1)["balanced"]
            own_redis.start()
            back = next(each for each in snapshots if not each["cut_off"])
            assert back["queue_trouble"] is None
        labels = [mark["label"] for mark in back["marks"]]
        assert labels[-2:] == ["Redis away", "Redis back"]


def test_the_page_is_small_of_one_origin_and_may_run_nothing_inline(shop: Server) -> None:
    index = shop.client.get("/")
    assert index.headers["content-type"] == "text/html; charset=utf-8"
    policy = index.headers["content-security-policy"]
    assert "unsafe" not in policy
    assert re.findall(r"(\S+-src) ([^;]*)", policy)[:3] == [
        ("default-src", "'none'"),
        ("script-src", "'self'"),
        ("style-src", "'self'"),
    ]
    pending = set(re.findall(r'(?:src|href)="(page/[^"]+)"', index.text))
    seen: dict[str, str] = {"/": index.text}
    while pending:
        path = pending.pop()
        response = shop.client.get(f"/{path}")
        assert response.status_code == 200, path
        seen[path] = response.text
        imported = re.findall(r'from "\./([^"]+)"', response.text)
        pending |= {f"page/{name}" for name in imported} - set(seen)
    assert len(seen) > 5
    assert sum(len(text.encode()) for text in seen.values()) < 100_000
    for path, text in seen.items():
        own = text.replace("http://www.w3.org/2000/svg", "")
        assert not re.search(r"https?://|//[a-z]+\.", own), path
        assert not re.search(r"innerHTML|\beval\(|style=\"|onclick=", own), path
    problem_of(shop.client.get("/page/nothing.js"), 404, "not-found")
    problem_of(shop.client.get("/page/..%2fpage.py"), 404, "not-found")
