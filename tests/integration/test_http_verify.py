"""Proofs over HTTP: one at a time, shared, and ended when nobody waits for them any more."""

from __future__ import annotations

import json
import os
import signal
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.eventually import eventually
from tests.support.server import read_all

if TYPE_CHECKING:
    import socket

    from tests.support.server import Server

ASKING = b"GET /verify HTTP/1.1\r\nHost: localhost\r\nconnection: close\r\n\r\n"
MOST = 64


def proofs_of(server: Server) -> list[int]:
    """The processes that prove."""
    found = []
    for task in Path(f"/proc/{server.pid}/task").iterdir():
        for child in map(int, (task / "children").read_text().split()):
            words = Path(f"/proc/{child}/cmdline").read_bytes().split(b"\0")
            if b"verify" in words:
                found.append(child)
    return found


def held(server: Server, *others: int) -> int:
    """Wait for a proof that is none of the others, and stop it in the middle."""

    def new() -> int | None:
        return next((pid for pid in proofs_of(server) if pid not in others), None)

    pid = eventually(new, what="a proof")
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    return pid


def ok(received: bytes) -> bool:
    head, _, body = received.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 "), received
    return bool(json.loads(body)["ok"])


@pytest.mark.long
def test_proofs_are_made_one_at_a_time_and_shared(server: Server) -> None:
    server.start()
    with ExitStack() as stack:

        def ask(many: int) -> list[socket.socket]:
            asking = [stack.enter_context(server.connected()) for _ in range(many)]
            for each in asking:
                each.sendall(ASKING)
            return asking

        (first,) = ask(1)
        pid = held(server)
        later = ask(MOST - 1)
        (refused,) = ask(1)
        assert b'"/problems/too-many-proofs"' in read_all(refused)
        assert proofs_of(server) == [pid]
        os.kill(pid, signal.SIGCONT)
        assert ok(read_all(first))
        # Those who asked meanwhile get a proof that has begun since, all of them the same.
        following = held(server, pid)
        assert proofs_of(server) == [following]
        os.kill(following, signal.SIGCONT)
        assert all(ok(read_all(each)) for each in later)
        assert proofs_of(server) == []
    assert server.stop().code == 0


@pytest.mark.long
def test_a_proof_that_nobody_waits_for_is_ended(server: Server) -> None:
    server.start()
    with server.connected() as stays:
        with server.connected() as first, server.connected() as second:
            first.sendall(ASKING)
            pid = held(server)
            second.sendall(ASKING)
        eventually(lambda: proofs_of(server) == [], what="it is ended")
        stays.sendall(ASKING)
        following = held(server, pid)
        with server.connected() as leaves:
            leaves.sendall(ASKING)
        os.kill(following, signal.SIGCONT)
        assert ok(read_all(stays))
        eventually(lambda: proofs_of(server) == [])
    assert server.stop(within=20).code == 0


def test_a_service_that_stops_ends_its_proof(server: Server) -> None:
    server.start()
    with server.connected() as asking:
        asking.sendall(ASKING)
        held(server)
        server.send(signal.SIGTERM)
        assert b'"/problems/stopping"' in read_all(asking)
        assert server.wait().code == 0
