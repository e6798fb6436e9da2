"""A machine that has no room for another process: a worker's place stays empty until it has."""

from __future__ import annotations

import resource
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.eventually import eventually
from tests.support.ledgers import order
from tests.support.orderly import COMMAND, Orderly, Result, assert_one_line, kill

if TYPE_CHECKING:
    from tests.support.server import Server


def take_room(pid: int) -> tuple[int, int]:
    """Let a process open nothing more than what it has open; return what it might before."""
    taken = {int(each.name) for each in Path(f"/proc/{pid}/fd").iterdir()}
    limit = min({*range(len(taken) + 1)} - taken)
    before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (limit, before[1]))
    return before


def states(server: Server) -> list[str]:
    return [worker["state"] for worker in server.client.get("/status").json()["workers"]]


@pytest.mark.long
def test_a_worker_that_cannot_be_replaced_is_tried_again_while_others_work(server: Server) -> None:
    server.orderly.environment |= {"PARTITIONS": "2", "REDRIVE_AFTER": "0.5"}
    server.start("--workers", "2")
    orders = [order(f"a-{number}", f"c-{number}") for number in range(8)]
    for each in orders[:4]:
        assert server.place(each).status_code == 202
    server.settle()
    first, _ = server.workers
    before = take_room(server.pid)
    kill(first)
    eventually(lambda: server.logged(event="worker cannot be replaced; it is tried again"))
    eventually(lambda: "starting" in states(server), within=30, what="it is seen")
    for each in orders[4:]:
        eventually(lambda e=each: server.place(e).status_code == 202, within=30)  # type: ignore[misc]
    eventually(lambda: server.orderly.settled() > 4, within=30, what="the other one works")
    assert len(server.workers) == 1
    resource.prlimit(server.pid, resource.RLIMIT_NOFILE, before)
    server.settle()
    eventually(lambda: len(server.workers) == 2, within=30, what="it is replaced")
    assert len(server.logged(event="worker cannot be replaced; it is tried again")) == 1
    assert server.stop().code == 0
    server.orderly.assert_serial()


@pytest.mark.long
def test_without_any_worker_a_service_is_not_ready(server: Server) -> None:
    server.start("--workers", "1")
    eventually(lambda: states(server) == ["idle"], within=30)
    before = take_room(server.pid)
    kill(server.workers[0])
    eventually(lambda: server.client.get("/readyz").status_code == 503, within=30)
    eventually(lambda: "worker can be started" in server.client.get("/readyz").text, within=30)
    resource.prlimit(server.pid, resource.RLIMIT_NOFILE, before)
    eventually(lambda: server.client.get("/readyz").status_code == 200, within=30)
    assert server.stop().code == 0


@pytest.mark.long
def test_a_run_that_finds_no_room_at_its_start_says_so_in_one_line(orderly: Orderly) -> None:
    orderly.environment["PAYMENT_WORKERS"] = "8"
    for most in range(11, 26, 2):
        done = subprocess.run(
            ["sh", "-c", f'ulimit -n {most}; exec "$@"', "sh", *COMMAND, "run"],
            cwd=orderly.folder,
            env=orderly._environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        assert_one_line(Result(done.returncode, done.stdout, done.stderr), done.returncode)
        assert done.returncode in {1, 3}


def test_the_first_thing_to_be_said_may_come_when_nothing_can_be_opened_any_more(
    server: Server,
) -> None:
    server.start("--workers", "1")
    eventually(lambda: states_unheard(server) == ["idle"], within=30)
    assert server.client.get("/healthz").status_code == 200  # which is not logged
    before = take_room(server.pid)
    assert server.place(order("a-1")).status_code in {202, 503}
    kill(server.workers[0])
    eventually(lambda: server.client.get("/readyz").status_code == 503, within=30)
    resource.prlimit(server.pid, resource.RLIMIT_NOFILE, before)
    eventually(lambda: server.client.get("/readyz").status_code == 200, within=30)
    assert server.place(order("a-1")).status_code in {200, 202}
    server.settle()
    assert "Traceback" not in "".join(server.said)
    assert server.stop().code == 0


def states_unheard(server: Server) -> list[str]:
    """What workers do, asked of the ledger: no request is logged for it."""
    return [state for (state,) in server.query("SELECT state FROM workers")]


_LEAKING = """
import os
import resource

from services.payment.gateway import PAID

LEAKED = []


class Leaking:
    idempotent = True

    def charge(self, charge):
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (200, hard))
        LEAKED.extend(os.open(os.devnull, os.O_RDONLY) for _ in range(3))
        return PAID
"""


@pytest.mark.long
def test_a_worker_whose_gateway_leaks_descriptors_makes_way_for_another_one(
    orderly: Orderly,
) -> None:
    (orderly.folder / "leaking.py").write_text(_LEAKING)
    orderly.environment |= {"PAYMENT_GATEWAY": "leaking:Leaking", "BATCH_SIZE": "10"}
    result = orderly("run", "--orders", "300", "--seed", "4", "--workers", "1", "--json")
    assert result.code == 0, result.err
    assert (result.json["paid"], result.json["verified"]) == (300, True)
    assert "worker makes way for another one" in result.err
    assert "no descriptor left to open a file with" in result.err
