"""A full pipeline: new orders wait outside, known ones are answered, and nothing piles up."""

from __future__ import annotations

import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.bulk import CHUNKED, chunk, codes, line
from tests.support.eventually import eventually
from tests.support.gateways import hold, slow_down
from tests.support.ledgers import order
from tests.support.scaled import Scaled
from tests.support.server import lines, problem_of

if TYPE_CHECKING:
    import socket

    from tests.support.server import Server

MOST = 40


@pytest.fixture
def full(server: Server) -> tuple[Server, Path]:
    """A service with as many open orders as there may be, and what lets them be paid."""
    return fill(server)


@pytest.fixture
def any_full(any_server: Server) -> tuple[Server, Path]:
    """The same in each mode."""
    return fill(any_server)


def fill(server: Server) -> tuple[Server, Path]:
    go = hold(server.orderly)
    server.orderly.environment |= {"MAX_PENDING": str(MOST), "PAYMENT_WORKERS": "1"}
    server.start()
    if isinstance(server.orderly, Scaled):
        server.orderly.pay(1)
    codes = {server.place(order(f"open-{number}", amount=1)).status_code for number in range(MOST)}
    assert codes == {202}
    return server, go


def resident(pid: int) -> int:
    """A process's memory, in KiB."""
    for entry in Path(f"/proc/{pid}/status").read_text().splitlines():
        if entry.startswith("VmRSS:"):
            return int(entry.split()[1])
    raise AssertionError(pid)


@pytest.mark.long
def test_a_new_order_is_told_when_to_come_again_and_a_known_one_what_became_of_it(
    any_full: tuple[Server, Path],
) -> None:
    server, go = any_full
    for _ in range(3):
        response = server.place(order("too-many"))
        problem_of(response, 429, "full")
        assert int(response.headers["retry-after"]) >= 1
    assert server.client.get("/orders/too-many").status_code == 404
    for number in range(MOST):
        assert server.place(order(f"open-{number}", amount=1)).json()["status"] == "open"
    problem_of(server.place(order("open-0", amount=2)), 409, "conflict")
    problem_of(server.place(order("bad") | {"currency": "?"}), 422, "invalid-order")
    assert server.client.get("/readyz").status_code == 200
    assert server.orderly.left_open() == MOST

    go.touch()
    accepted_now = eventually(
        lambda: response if (response := server.place(order("too-many"))).is_success else None
    )
    assert accepted_now is not None
    assert accepted_now.status_code == 202
    server.settle()
    assert server.stop().code == 0
    assert len(server.orderly.assert_serial().status) == MOST + 1


@pytest.mark.long
def test_a_body_of_many_waits_for_room_and_goes_on_as_it_drains(
    any_full: tuple[Server, Path],
) -> None:
    server, go = any_full
    sent = [order(f"line-{number}", "waiter", 1) for number in range(300)]
    with ThreadPoolExecutor(1) as sender:
        waiting = sender.submit(server.bulk, lines(sent))
        # Others are served meanwhile; the one that waits holds nobody up.
        for _ in range(50):
            problem_of(server.place(order("too-many")), 429, "full")
            assert server.place(order("open-7", amount=1)).status_code == 200
        assert not waiting.done()
        assert server.orderly.left_open() == MOST
        go.touch()
        found = waiting.result(timeout=30)
    assert codes(found) == [(number, 202) for number in range(1, 301)]
    kept = server.query(
        "SELECT order_id FROM identities WHERE order_id LIKE 'line-%' ORDER BY number"
    )
    assert kept == [(f"line-{number}",) for number in range(300)]
    server.settle()
    assert server.stop().code == 0
    assert len(server.orderly.assert_serial().status) == MOST + 300


def push(connection: socket.socket, body: bytes, *, most: int) -> int:
    """Send a body again and again; return how often it could be sent whole."""
    for times in range(most):
        try:
            connection.sendall(body)
        except TimeoutError:
            return times
    return most


@pytest.mark.long
def test_a_sender_that_is_not_read_from_is_slowed_down_by_its_connection(
    full: tuple[Server, Path],
) -> None:
    """It cannot push more than the buffers between the two take, and the service does not grow."""
    server, go = full
    before = resident(server.pid)
    body = chunk(b"".join(line(f"push-{number}").ljust(999) + b"\n" for number in range(1000)))
    with server.connected() as connection:
        connection.settimeout(1)
        connection.sendall(CHUNKED)
        assert push(connection, body, most=50) < 50
        assert resident(server.pid) < before + 30_000
        assert server.orderly.left_open() == MOST
    go.touch()
    assert server.stop().code == 0
    # It is gone. What had been read of its lines may be accepted, as far as they go in order.
    kept = server.query(
        "SELECT order_id FROM identities WHERE order_id LIKE 'push-%' ORDER BY number"
    )
    assert kept == [(f"push-{number}",) for number in range(len(kept))]
    assert server.orderly.final_state().count("paid") == MOST + len(kept)


@pytest.mark.long
def test_thousands_of_refused_requests_leave_nothing_behind(full: tuple[Server, Path]) -> None:
    server, go = full

    def press(sender: int, requests: int) -> Counter[int]:
        return Counter(
            server.place(order(f"press-{sender}-{number}", f"c-{number}")).status_code
            for number in range(requests)
        )

    with ThreadPoolExecutor(8) as senders:
        list(senders.map(partial(press, requests=50), range(8)))
        before = resident(server.pid)
        answers: Counter[int] = sum(senders.map(partial(press, requests=300), range(8)), Counter())
    assert answers == {429: 2400}
    assert resident(server.pid) < before + 8_000
    assert server.orderly.accepted() == MOST
    go.touch()
    assert server.settle()["created"] == MOST
    assert server.place(order("after")).status_code == 202


@pytest.mark.long
def test_however_many_press_in_no_more_are_open_than_there_may_be(server: Server) -> None:
    """Single orders and bodies of many at once, into a pipeline that pays slowly."""
    slow_down(server.orderly, 0.002)
    server.orderly.environment |= {"MAX_PENDING": str(MOST), "BATCH_SIZE": "10"}
    server.start()
    most = 0
    done = threading.Event()

    def watch() -> None:
        nonlocal most
        while not done.is_set():
            most = max(most, server.orderly.left_open())

    def insist(sender: int) -> None:
        for number in range(20):
            placed = order(f"one-{sender}-{number}", f"c-{sender}", 1)
            eventually(lambda: server.place(placed).is_success, within=60)  # noqa: B023

    def send_many(sender: int) -> list[tuple[int, int]]:
        many = (order(f"many-{sender}-{number}", f"m-{number % 5}", 1) for number in range(150))
        return codes(server.bulk(lines(many)))

    with ThreadPoolExecutor(7) as senders:
        watching = senders.submit(watch)
        singles = [senders.submit(insist, sender) for sender in range(4)]
        for found in senders.map(send_many, range(2)):
            assert found == [(number, 202) for number in range(1, 151)]
        for each in singles:
            each.result(timeout=60)
        done.set()
        watching.result()
    assert MOST // 2 < most <= MOST
    server.settle()
    assert server.stop().code == 0
    assert len(server.orderly.assert_serial().status) == 380
