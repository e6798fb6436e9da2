"""Connections that keep the service waiting: each has an end, and none keeps others out."""

from __future__ import annotations

import os
import resource
import signal
import socket
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest

from services.http import connection_limits
from services.http import connections as limits
from services.http.server import HttpServer
from services.processes.listening import bind
from tests.support.eventually import eventually
from tests.support.server import read_all

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.support.server import Server

GET = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: localhost\r\ncontent-length: 10\r\n\r\n"
CHUNKED = b"POST / HTTP/1.1\r\nHost: localhost\r\ntransfer-encoding: chunked\r\n\r\n"
MIB = 1024 * 1024
FEW = 20


async def answer(scope: Any, receive: Any, send: Any) -> None:
    """Read a body, and answer with a little, or with much."""
    while scope["method"] == "POST" and (await receive()).get("more_body"):
        pass
    await send({"type": "http.response.start", "status": 200, "headers": []})
    size = 16 * MIB if scope["path"] == "/much" else 2
    await send({"type": "http.response.body", "body": b"." * size})


class Room(connection_limits.Room):
    """Room for few."""

    def __init__(self) -> None:
        super().__init__(1)
        self.most = FEW


def have_patience(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    """Set how long the server waits for those who keep it waiting."""
    monkeypatch.setattr(limits, "HEAD_SECONDS", seconds)
    for module in (limits, connection_limits):
        monkeypatch.setattr(module, "STILL_SECONDS", seconds)


@pytest.fixture
def connect(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[bytes], socket.socket]]:
    """Connects to a server that has little patience and little room, and says something."""
    have_patience(monkeypatch, 1.0)
    monkeypatch.setattr(connection_limits, "PACE_SECONDS", 3.0)
    listener = bind("127.0.0.1", 0, "--port")
    port = listener.getsockname()[1]
    server = HttpServer(answer, listener, Room(), keep_alive=2, each_second=lambda: None)
    server.start()
    with ExitStack() as opened:

        def connect(said: bytes) -> socket.socket:
            connection = socket.create_connection(("127.0.0.1", port), timeout=20)
            opened.enter_context(connection)
            connection.sendall(said)
            return connection

        yield connect
    server.stop()
    eventually(lambda: not server.is_running)
    server.check()


@pytest.mark.parametrize(
    ("said", "status"),
    [
        (b"", b""),
        (b"\r\n", b""),
        (b"G", b"408"),
        (b"GET / HTTP/1.1\r\nHost: loc", b"408"),
        (POST, b"408"),
        (POST + b"12345", b"408"),
        (CHUNKED, b"408"),
        (CHUNKED + b"5\r\n12", b"408"),
        (POST.replace(b"\r\n\r\n", b"\r\nexpect: 100-continue\r\n\r\n"), b"100"),
        (GET, b"200"),
        (GET + b"\r\n", b"200"),
        (GET + b"GET / HT", b"200"),
    ],
)
def test_who_stops_in_mid_request_is_told_and_let_go(
    connect: Callable[[bytes], socket.socket], said: bytes, status: bytes
) -> None:
    received = read_all(connect(said))
    assert received[9:12] == status
    if status == b"408":
        assert b'"/problems/too-slow"' in received
        assert b"\r\nconnection: close\r\n" in received
    elif said.endswith(b"HT") or status == b"100":
        assert b"408 Request Timeout" in received


def test_a_body_that_drips_has_an_end(connect: Callable[[bytes], socket.socket]) -> None:
    with connect(CHUNKED) as connection:
        connection.settimeout(0.2)
        received = b""
        for _ in range(200):
            try:
                connection.sendall(b"1\r\n.\r\n")
                received = connection.recv(4096)
                break
            except TimeoutError:
                continue
        assert received.startswith(b"HTTP/1.1 408 ")


def test_a_body_that_comes_at_some_pace_may_take_its_time(
    connect: Callable[[bytes], socket.socket],
) -> None:
    with connect(CHUNKED) as connection:
        began = time.monotonic()
        while time.monotonic() - began < 5:
            connection.sendall(b"200\r\n" + b"." * 512 + b"\r\n")
            connection.settimeout(0.2)
            with pytest.raises(TimeoutError):
                connection.recv(1)
        connection.settimeout(20)
        connection.sendall(b"0\r\n\r\n")
        assert connection.recv(4096).startswith(b"HTTP/1.1 200 ")


def test_an_answer_that_nobody_reads_is_given_up(
    connect: Callable[[bytes], socket.socket],
) -> None:
    deaf = connect(GET.replace(b"healthz", b"much"))
    began = time.monotonic()
    eventually(lambda: time.monotonic() - began > 4, what="too long", within=10)
    assert len(read_all(deaf)) < 16 * MIB


def test_an_answer_that_is_read_slowly_arrives(connect: Callable[[bytes], socket.socket]) -> None:
    slow = connect(b"GET /much HTTP/1.1\r\nHost: localhost\r\nconnection: close\r\n\r\n")
    size, began = 0, time.monotonic()
    while piece := slow.recv(256 * 1024):
        size += len(piece)
        wanted = size / (4 * MIB)  # seconds: the whole takes four
        eventually(lambda: time.monotonic() - began >= wanted, within=10)  # noqa: B023
    assert size > 16 * MIB


def test_a_newcomer_takes_the_place_of_who_waits_longest(
    connect: Callable[[bytes], socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    for module, name in (
        (limits, "HEAD_SECONDS"),
        (limits, "STILL_SECONDS"),
        (connection_limits, "STILL_SECONDS"),
    ):
        monkeypatch.setattr(module, name, 60.0)  # nobody goes for another reason meanwhile
    waiting = [connect(POST) for _ in range(FEW // 2)] + [connect(b"") for _ in range(FEW // 2)]
    for _ in range(3):
        with connect(GET) as newcomer:
            assert newcomer.recv(4096).startswith(b"HTTP/1.1 200 ")
    for module, name in (
        (limits, "HEAD_SECONDS"),
        (limits, "STILL_SECONDS"),
        (connection_limits, "STILL_SECONDS"),
    ):
        monkeypatch.setattr(module, name, 0.1)
    told = [read_all(each) for each in waiting]
    assert any(b'"/problems/too-many-connections"' in each for each in told)


def test_requests_that_come_by_the_thousand_are_all_answered(
    connect: Callable[[bytes], socket.socket],
) -> None:
    connection = connect(GET * 3000 + POST + b"1234567890" + GET)
    received = b""
    while received.count(b"HTTP/1.1 200 ") < 3002:
        piece = connection.recv(MIB)
        assert piece, received[-200:]
        received += piece


@pytest.mark.long
def test_idle_connections_keep_neither_callers_nor_workers_out(server: Server) -> None:
    """Each is an open file, and a worker that is replaced needs some."""
    few = (300, 300)
    server.start(preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, few))
    with ExitStack() as stack:
        for _ in range(150):
            stack.enter_context(server.connected())
        first, second = server.workers
        os.kill(first, signal.SIGKILL)
        eventually(lambda: set(server.workers) - {first, second})
        for _ in range(20):
            assert server.client.get("/healthz").status_code == 200
    assert server.stop().code == 0
