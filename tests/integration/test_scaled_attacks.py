"""Whoever can write to Redis can neither run anything here, nor change what is charged."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from shared.queue.redis_queue import queue_name
from shared.schema import encode_nudge
from tests.attacks import BOMB_BYTES, REFUSED, Attacker
from tests.eventually import eventually
from tests.inputs import order
from tests.server import Server, lines

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.scaled import Scaled


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    """Somebody who waits for a call."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(0.0)
        yield listening


@pytest.fixture
def besieged(scaled: Scaled) -> Iterator[Server]:
    """A service whose two workers are alive to the end, and charge what the journal says."""
    service = Server(scaled)
    try:
        service.start("--workers", "2")
        pids = service.workers
        yield service
        service.settle()
        assert service.workers == pids
        assert service.stop().code == 0
        scaled.assert_serial()
    finally:
        service.close()


def attacker(scaled: Scaled, listening: socket.socket) -> Attacker:
    loot = scaled.folder / "loot"
    loot.mkdir()
    ledger_id = scaled.ledger_id()
    return Attacker(
        scaled.redis(),
        queue_name(ledger_id),
        encode_nudge(ledger_id, 3).decode(),
        loot,
        f"http://127.0.0.1:{listening.getsockname()[1]}/",
    )


def place(server: Server, name: str, count: int) -> None:
    """Place orders of many customers."""
    block = (order(f"{name}-{n}", customer_id=f"c-{n % 40}") for n in range(count))
    assert {answer["code"] for answer in server.bulk(lines(block))} == {202}


def test_strangers_jobs_are_refused_and_say_why(
    scaled: Scaled, besieged: Server, listener: socket.socket
) -> None:
    place(besieged, "before", 200)
    it = attacker(scaled, listener)
    for name, (push, _) in REFUSED.items():
        push(it, name)
        place(besieged, name, 20)
    wanted = {name: why for name, (_, why) in REFUSED.items() if why}
    eventually(lambda: it.refused().keys() >= wanted.keys(), within=30, what="all are refused")
    found = {name: why[: len(wanted[name])] for name, why in it.refused().items()}
    assert found == wanted
    assert not list(it.loot.iterdir())
    assert all(peak_memory(pid) < BOMB_BYTES for pid in besieged.workers)
    with pytest.raises(BlockingIOError):
        listener.accept()


def peak_memory(pid: int) -> int:
    """The most memory that a process ever had, in bytes."""
    status = Path(f"/proc/{pid}/status").read_text()
    (line,) = (line for line in status.splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024
