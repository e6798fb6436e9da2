"""What a connection to the bank may keep it waiting for; its own server, with less patience."""

from __future__ import annotations

import socket
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from services.bank import connections, requests
from services.bank.requests import Answer, hang_up, hold
from services.bank.server import BankServer
from services.processes.listening import bind
from tests.support.eventually import eventually
from tests.support.server import MIB, read_all

if TYPE_CHECKING:
    from collections.abc import Iterator

    from services.bank.requests import Receive, Scope, Send

LONG = b"x" * (16 * MIB)
HEALTH = b"GET /short HTTP/1.1\r\nhost: x\r\n\r\n"


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer with a little or a lot, or not at all."""
    if scope["path"] == "/never":
        await hold(scope, receive)
    elif scope["path"] == "/closed":
        await hang_up(scope, receive)
    else:
        await Answer(200, LONG if scope["path"] == "/long" else b"short", []).send(send)


@pytest.fixture
def port(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """The port of a server that waits for seconds where the bank's waits for many."""
    monkeypatch.setattr(connections, "STILL_SECONDS", 3.0)
    monkeypatch.setattr(connections, "KEEP_ALIVE", 1)
    monkeypatch.setattr(requests, "HOLD_SECONDS", 1.0)
    listener = bind("127.0.0.1", 0, "--port")
    with listener:
        number = listener.getsockname()[1]
        server = BankServer(app, listener, lambda: None)
        server.start()
        yield number
        server.check()
        server.stop(threading.Event())


@contextmanager
def connected(port: int) -> Iterator[socket.socket]:
    with socket.socket() as connection:
        connection.settimeout(20)
        connection.connect(("127.0.0.1", port))
        yield connection


@pytest.mark.parametrize("sent", [b"", b"\r\n", HEALTH, HEALTH + b"\r\n"])
def test_who_is_idle_for_too_long_is_let_go(port: int, sent: bytes) -> None:
    with connected(port) as connection:
        connection.sendall(sent)
        assert read_all(connection).endswith(b"short") == (sent.startswith(HEALTH))


def test_who_does_not_read_the_answer_is_let_go(port: int) -> None:
    with connected(port) as connection:
        connection.sendall(b"GET /long HTTP/1.1\r\nhost: x\r\n\r\n")
        eventually(lambda: is_let_go(connection), within=20)


def is_let_go(connection: socket.socket) -> bool:
    """Whether the other side has nobody any more who would read."""
    try:
        connection.send(b"\r\n", socket.MSG_DONTWAIT)
    except ConnectionError:
        return True
    except BlockingIOError:
        pass
    return False


def test_who_reads_a_long_answer_slowly_gets_it_whole(port: int) -> None:
    received = bytearray()
    with connected(port) as connection:
        connection.sendall(b"GET /long HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        begun = time.monotonic()

        def has_read_all() -> bool:
            piece = connection.recv(MIB // 8)
            received.extend(piece)
            return not piece

        eventually(has_read_all, within=60)
        assert time.monotonic() - begun > connections.STILL_SECONDS
    assert received.endswith(LONG)


def test_who_is_never_answered_is_let_go_in_the_end(port: int) -> None:
    with connected(port) as connection:
        connection.sendall(b"GET /never HTTP/1.1\r\nhost: x\r\n\r\n")
        assert read_all(connection) == b""
