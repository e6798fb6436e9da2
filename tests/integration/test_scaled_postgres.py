"""Redis mode, whatever happens to PostgreSQL: what was accepted is, and nothing is twice."""

from __future__ import annotations

import random
import signal
import socket
import subprocess
import threading
from contextlib import closing
from typing import TYPE_CHECKING

import httpx
import pytest

from tests.support.inputs import order
from tests.support.lost_answers import LossyWay
from tests.support.scaled import result, write_orders
from tests.support.server import Server

if TYPE_CHECKING:
    from tests.support.orderly import Orderly
    from tests.support.scaled import Scaled
    from tests.support.servers.postgres_server import PostgresServer

ORDERS = 3000
EACH = 150


@pytest.mark.long
@pytest.mark.parametrize("kill", [False, True], ids=["restarted", "killed"])
def test_postgres_goes_and_comes_back_in_mid_run(
    on_own_postgres: Scaled, own_postgres: PostgresServer, *, kill: bool
) -> None:
    scaled = on_own_postgres
    file = write_orders(scaled.folder / "orders.jsonl", ORDERS)
    lines = file.read_text().splitlines(keepends=True)
    running = scaled.start("run", "-", "--workers", "2", "--json", stdin=subprocess.PIPE)
    assert running.stdin is not None
    for part in range(3):
        running.stdin.write("".join(lines[part::3]))
        running.stdin.flush()
        scaled.until_settled(part * ORDERS // 3 + 1)
        if part < 2:
            own_postgres.restart(kill=kill)
    out, err = running.communicate(timeout=90)
    assert running.returncode == 0, err
    assert "worker replaced" not in err
    assert f'"created": {ORDERS}' in out
    assert len(scaled.assert_serial().status) == ORDERS


@pytest.mark.long
def test_postgres_is_killed_again_and_again_under_a_producer(
    on_own_postgres: Scaled, own_postgres: PostgresServer
) -> None:
    scaled = on_own_postgres
    paying = scaled.pay(workers=1)
    file = write_orders(scaled.folder / "orders.jsonl", ORDERS)
    producing = scaled.start("produce", file, "--rate", "1000", "--json")
    chance = random.Random(7)
    for _ in range(4):
        scaled.until_accepted(scaled.accepted() + chance.randrange(1, 500))
        own_postgres.restart(kill=True)
    report = result(producing)
    assert report["received"] == report["created"] == ORDERS
    assert report["duplicates"] == report["rejected"] == 0
    scaled.until_settled(ORDERS)
    scaled.stop(paying)
    assert len(scaled.assert_serial().status) == ORDERS


@pytest.mark.long
def test_answers_to_commits_are_lost(on_own_postgres: Scaled, own_postgres: PostgresServer) -> None:
    """Of a producer and of payment workers; each order counts once nevertheless."""
    scaled, orders = on_own_postgres, 1000
    way = LossyWay(own_postgres.over_tcp(scaled.ledger_url))
    scaled.environment |= {"LEDGER_URL": way.url, "BATCH_SIZE": "20"}
    try:
        paying = scaled.pay()
        file = write_orders(scaled.folder / "orders.jsonl", orders)
        producing = scaled.start("produce", file, "--rate", "500", "--json")
        scaled.until_accepted(1)
        way.every = 7
        report = result(producing)
        scaled.until_settled(orders)
        way.every = 0
        assert way.lost > 5
        assert report["received"] == report["created"] == orders
        assert "worker replaced" not in scaled.stop(paying)
        assert len(scaled.assert_serial().status) == orders
    finally:
        way.close()


@pytest.mark.long
def test_a_run_loses_answers_from_its_start_to_its_proof(
    on_own_postgres: Scaled, own_postgres: PostgresServer
) -> None:
    """Wherever in between it is: each run loses others."""
    scaled = on_own_postgres
    way = LossyWay(own_postgres.over_tcp(scaled.ledger_url))
    scaled.environment["LEDGER_URL"] = way.url
    try:
        for every in (3, 4):
            way.every, before = every, way.lost
            file = write_orders(scaled.folder / f"{every}.jsonl", 200, name=f"run-{every}")
            report = scaled.json("run", file, "--workers", "1")
            assert report["created"] == 200
            assert report["verified"] is True
            assert way.lost > before
        way.every = 0
        assert len(scaled.assert_serial().status) == 400
    finally:
        way.close()


@pytest.mark.long
def test_clients_that_try_again_have_each_order_settled_once(
    on_own_postgres: Scaled, own_postgres: PostgresServer
) -> None:
    scaled = on_own_postgres
    accepted: list[str] = []
    with closing(Server(scaled)) as server:
        server.start("--workers", "1")
        clients = [
            threading.Thread(target=_place_all, args=(server.url, f"client-{number}", accepted))
            for number in range(4)
        ]
        for each in clients:
            each.start()
        for _ in range(2):
            scaled.until_accepted(scaled.accepted() + 50)
            own_postgres.restart(kill=True)
        for each in clients:
            each.join(timeout=60)
        scaled.until_settled(4 * EACH)
        assert server.stop().code == 0
    assert len(accepted) == len(set(accepted)) == 4 * EACH
    assert scaled.assert_serial().status.keys() == set(accepted)


def _place_all(url: str, name: str, accepted: list[str]) -> None:
    """Place orders one after another, each until it is answered with a 2xx."""
    with httpx.Client(base_url=url, timeout=30, trust_env=False) as client:
        for number in range(EACH):
            fields = order(f"{name}-{number}", customer_id=name)
            while not _is_accepted(client, fields):
                pass
            accepted.append(str(fields["order_id"]))


def _is_accepted(client: httpx.Client, fields: dict[str, object]) -> bool:
    try:
        response = client.post("/orders", json=fields)
    except httpx.TransportError:
        return False
    assert response.status_code in {200, 202, 429, 503}, response.text
    return response.is_success


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("command", ["run", "pay", "serve"])
def test_a_signal_ends_the_wait_for_a_server(
    orderly: Orderly, command: str, number: signal.Signals
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        orderly.environment |= {
            "QUEUE_MODE": "redis",
            "LEDGER_URL": f"postgresql://clerk@127.0.0.1:{port}/orders",
            "HTTP_PORT": "0",
        }
        waiting = orderly.start(command)
        connection, _ = silent.accept()
        with connection:
            waiting.send_signal(number)
            out, err = waiting.communicate(timeout=10)  # the wait would take 15 seconds
    assert waiting.returncode == (130 if number == signal.SIGINT else -number)
    assert "Traceback" not in out + err
