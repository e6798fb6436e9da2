"""How the service starts, stops, dies and goes without its ledger, and what that costs nobody."""

from __future__ import annotations

import fcntl
import signal
import socket
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

import pytest

from tests.integration.test_chaos import assert_nothing_runs
from tests.integration.test_full_disk import Disk
from tests.support.bulk import CHUNKED, chunk, codes, line, unchunked
from tests.support.eventually import eventually
from tests.support.gateways import hold, slow_down
from tests.support.ledgers import order
from tests.support.orderly import Orderly, assert_one_line, finish, kill, processes_of
from tests.support.server import answers, lines, problem_of, read_all

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.server import Server

SETTLING = "settling what was accepted; a second signal stops at once"


@pytest.fixture(autouse=True)
def few_workers(orderly: Orderly) -> None:
    """A start costs less so."""
    orderly.environment["PAYMENT_WORKERS"] = "1"


def has_said(server: Server, words: str) -> bool:
    return any(words in each for each in server.said)


def test_a_port_that_is_taken_ends_the_start_in_one_line(orderly: Orderly) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        result = orderly("serve", "--port", str(port))
    assert_one_line(result, 2, f"port {port} on 127.0.0.1 is taken", "--port or HTTP_PORT")
    assert not orderly.ledger.exists()


def test_what_cannot_be_served_ends_the_start_in_one_line(orderly: Orderly) -> None:
    (orderly.folder / "file").touch()
    expected = [
        ({"HTTP_HOST": "192.0.2.1"}, 2, "port 0 on 192.0.2.1 cannot be used"),
        ({"HTTP_HOST": "no-such-host.invalid"}, 2, "port 0 on no-such-host.invalid cannot be used"),
        ({"HTTP_HOST": "::2"}, 2, "port 0 on ::2 cannot be used"),
        ({"HTTP_HOST": "a b"}, 2, "HTTP_HOST='a b' must be an address"),
        ({"API_TOKEN": "not a token"}, 2, "API_TOKEN="),
        ({"PAYMENT_GATEWAY": "nowhere:Gateway"}, 2, "nowhere"),
        ({"LEDGER_URL": "sqlite:///file/orderly.db"}, 3, "cannot make the folder"),
    ]
    started = []
    for environment, _, _ in expected:
        other = Orderly(orderly.folder, environment)
        started.append(other.start("serve", "--port", "0"))
    for process, (_, code, words) in zip(started, expected, strict=True):
        assert_one_line(finish(process), code, words)


def test_it_serves_on_ipv6_as_well(server: Server) -> None:
    server.start("--host", "::1")
    assert server.url == f"http://[::1]:{server.port}"
    assert server.place(order("six")).status_code == 202


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_settles_what_was_accepted_and_ends(
    server: Server, number: signal.Signals
) -> None:
    slow_down(server.orderly, 0.005)
    server.start()
    body = lines(order(f"late-{each}", f"c-{each % 20}") for each in range(200))
    assert {each["code"] for each in server.bulk(body)} == {202}
    assert server.orderly.settled() < 200
    # As a terminal does: to the whole group. The client's connection stays open all the while.
    for pid in processes_of(server.pid) if number == signal.SIGINT else [server.pid]:
        kill(pid, number)
    ended = server.wait()
    assert ended.code == 0, ended
    assert SETTLING in ended.err
    assert_nothing_runs(server.process)
    assert server.orderly.left_open() == 0
    assert server.orderly.final_state().count("paid") == 200


def test_a_body_that_comes_slowly_is_answered_as_far_as_it_came(server: Server) -> None:
    server.start()
    with server.connected() as connection:
        connection.sendall(CHUNKED)
        for number in range(5):
            connection.sendall(chunk(line(f"slow-{number}") + b"\n"))
            eventually(partial(has_accepted_exactly, server, number + 1))
        connection.sendall(chunk(line("slow-5")))  # its end would come next, and comes too late
        server.send(signal.SIGTERM)
        received = read_all(connection)
    head, _, rest = received.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 ")
    found = answers(b"".join(unchunked(rest)))
    assert codes(found) == [(number, 202) for number in range(1, 6)]
    ended = server.wait(within=10)
    assert ended.code == 0, ended
    assert SETTLING in ended.err
    assert_nothing_runs(server.process)
    assert server.orderly.final_state().count("paid") == 5


def has_accepted_exactly(server: Server, count: int) -> bool:
    return server.orderly.accepted() == count


def test_a_body_that_waits_for_room_is_told_to_come_again(server: Server) -> None:
    go = hold(server.orderly)
    server.orderly.environment["MAX_PENDING"] = "4"
    server.start()
    with ThreadPoolExecutor(1) as sender:
        sent = sender.submit(server.bulk, lines(order(f"wait-{each}") for each in range(7)))
        eventually(partial(has_accepted_exactly, server, 4))
        server.send(signal.SIGTERM)
        found = sent.result(timeout=20)
    assert [each["code"] for each in found] == [202] * 4 + [503] * 3
    assert found[4]["error"] == "the service is stopping; send it again"
    go.touch()
    assert server.wait().code == 0
    assert server.orderly.final_state().count("paid") == 4


@pytest.mark.long
def test_a_second_signal_stops_at_once_and_the_next_start_settles_the_rest(
    server: Server,
) -> None:
    go = hold(server.orderly)
    server.start()
    assert {each["code"] for each in server.bulk(lines(map(order, "abcdefg")))} == {202}
    server.send(signal.SIGTERM)
    eventually(partial(has_said, server, SETTLING))
    ended = server.stop(signal.SIGTERM, within=10)
    assert ended.code == 1
    assert "stopped at once; the next start settles what is open" in ended.err
    assert "Traceback" not in ended.err
    assert_nothing_runs(server.process)
    assert server.orderly.left_open() == 7

    go.touch()
    server.start(port=server.port)
    assert server.settle()["paid"] == 7
    assert server.stop().code == 0
    server.orderly.assert_serial()


@pytest.mark.long
def test_a_killed_service_leaves_no_worker_and_starts_again_on_its_port(server: Server) -> None:
    slow_down(server.orderly, 0.01)
    server.orderly.environment["PAYMENT_WORKERS"] = "2"
    server.start()
    assert {each["code"] for each in server.bulk(lines(map(order, "abcdefghij")))} == {202}
    eventually(lambda: server.orderly.settled() > 0)
    workers = server.workers
    assert len(workers) == 2
    server.stop(signal.SIGKILL)
    assert_nothing_runs(server.process)

    port = server.port
    server.start(port=port)
    assert server.port == port
    assert set(server.workers).isdisjoint(workers)
    assert server.place(order("after")).status_code == 202
    assert server.settle()["paid"] == 11
    assert server.stop().code == 0
    server.orderly.assert_serial()


def test_on_a_full_disk_it_says_so_refuses_orders_and_recovers(server: Server) -> None:
    server.start()
    disk = Disk()
    assert server.place(order("before")).status_code == 202
    server.settle()
    disk.fill(server.pid)
    for _ in range(3):
        response = server.place(order("during"))
        problem_of(response, 503, "ledger-unavailable")
        assert int(response.headers["retry-after"]) >= 1
    (answer,) = server.bulk(line("during"))
    assert answer["code"] == 503
    assert "cannot be written" in answer["error"]
    eventually(lambda: server.client.get("/readyz").status_code == 503)
    problem_of(server.client.get("/readyz"), 503, "ledger-unavailable")
    assert server.client.get("/healthz").json() == {"status": "ok"}
    # Who reads need not wait, and a duplicate is still known to be one.
    assert server.client.get("/orders/before").json()["status"] == "paid"
    assert server.client.get("/orders/during").status_code == 404
    assert server.orderly.accepted() == 1

    disk.make_room(server.pid)
    eventually(lambda: server.client.get("/readyz").status_code == 200)
    assert server.place(order("during")).status_code == 202
    assert server.place(order("during")).status_code == 200
    assert server.stop().code == 0
    assert server.orderly.final_state().status == {"before": "paid", "during": "paid"}


@contextmanager
def turn_taken(server: Server) -> Iterator[None]:
    """Hold the lock by which processes take turns to write."""
    with server.ledger.with_name("orderly.db.lock").open("rb+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def test_orders_that_wait_together_share_a_commit(server: Server) -> None:
    server.start()
    with ThreadPoolExecutor(20) as senders:
        with turn_taken(server):
            sent = [senders.submit(server.place, order(f"o-{number}")) for number in range(20)]
            eventually(
                lambda: "\norderly_intake_waiting_orders 20.0" in server.client.get("/metrics").text
            )
        assert {each.result(timeout=20).status_code for each in sent} == {202}
    assert server.query("SELECT count(DISTINCT accepted_at) FROM journal") == [(1,)]
    metrics = server.client.get("/metrics").text
    assert "\norderly_intake_block_orders_count 1.0" in metrics
    assert "\norderly_intake_block_orders_sum 20.0" in metrics


@pytest.mark.long
def test_while_another_process_holds_the_ledger_orders_are_refused_and_not_kept(
    server: Server,
) -> None:
    server.start()
    assert server.client.get("/readyz").json() == {"status": "ready"}
    assert server.place(order("before")).status_code == 202
    server.settle()
    with turn_taken(server), ThreadPoolExecutor(6) as senders:
        sent = [senders.submit(server.place, order(f"during-{each}")) for each in range(4)]
        sent_again = senders.submit(server.place, order("before"))
        many = senders.submit(server.bulk, lines([order("line-1"), order("line-2")]))
        eventually(lambda: server.client.get("/readyz").status_code == 503)
        assert server.client.get("/healthz").json() == {"status": "ok"}
        problem_of(server.client.get("/readyz"), 503, "ledger-unavailable")
        for each in sent:
            response = each.result(timeout=20)
            problem_of(response, 503, "ledger-unavailable")
            assert int(response.headers["retry-after"]) >= 1
        assert sent_again.result(timeout=20).status_code in {200, 503}
        assert codes(many.result(timeout=20)) == [(1, 503), (2, 503)]
        assert server.client.get("/healthz").status_code == 200
        assert server.client.get("/orders/before").status_code == 200
    eventually(lambda: server.client.get("/readyz").status_code == 200)
    # What was refused is not accepted later either: this one came after it.
    assert server.place(order("after")).status_code == 202
    assert server.orderly.accepted() == 2
    assert {server.place(order(f"during-{each}")).status_code for each in range(4)} == {202}
    assert server.stop().code == 0
    assert server.orderly.final_state().count("paid") == 6
