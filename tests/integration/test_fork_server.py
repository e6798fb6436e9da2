"""Workers are copies of a process that does nothing else: it goes with its parent, and may go."""

from __future__ import annotations

import json
import signal
from functools import partial
from typing import TYPE_CHECKING

import pytest

from tests.support.eventually import eventually
from tests.support.orderly import children_of, fork_server_of, kill, processes_of, workers_of
from tests.support.processes import is_alive

if TYPE_CHECKING:
    import subprocess

    from tests.support.orderly import Orderly

ORDERS = 3000
TWO = ("--workers", "2")


@pytest.fixture
def running(orderly: Orderly) -> subprocess.Popen[str]:
    """A run that is in the middle of its work."""
    orders = ("--orders", str(ORDERS), "--seed", "5", "--rate", "1500")
    process = orderly.start("run", *orders, *TWO, "--json")
    eventually(lambda: orderly.settled() > 0, within=30)
    return process


@pytest.mark.long
def test_workers_are_its_children_and_it_leaves_no_zombies(
    orderly: Orderly, running: subprocess.Popen[str]
) -> None:
    fork_server = fork_server_of(running.pid)
    first = set(workers_of(running.pid))
    assert first == set(children_of(fork_server))
    assert len(first) == 2
    kill(min(first))
    eventually(lambda: len(set(workers_of(running.pid)) | first) == 3)
    eventually(lambda: set(children_of(fork_server)) == set(workers_of(running.pid)))
    assert_whole(orderly, running)


@pytest.mark.long
def test_its_death_costs_no_order(orderly: Orderly, running: subprocess.Popen[str]) -> None:
    before = set(workers_of(running.pid))
    kill(fork_server_of(running.pid))
    eventually(lambda: not any(map(is_alive, before)), within=2, what="its workers end with it")
    err = assert_whole(orderly, running)
    assert err.count("worker replaced") == 2
    assert err.count("killed by SIGKILL") == 2


@pytest.mark.long
def test_one_that_stands_still_is_done_without(
    orderly: Orderly, running: subprocess.Popen[str]
) -> None:
    kill(fork_server_of(running.pid), signal.SIGSTOP)
    for worker in workers_of(running.pid):
        kill(worker)
    assert_whole(orderly, running)


@pytest.mark.long
def test_what_is_sent_to_the_whole_group_is_for_the_parent(
    orderly: Orderly, running: subprocess.Popen[str]
) -> None:
    everybody = processes_of(running.pid)
    for number in signal.SIGHUP, signal.SIGTERM:
        for pid in set(everybody) - set(workers_of(running.pid)) - {running.pid}:
            kill(pid, number)
    assert_whole(orderly, running)


@pytest.mark.parametrize("whom", ["parent", "fork server"])
def test_nobody_outlives_a_parent_that_is_killed(orderly: Orderly, whom: str) -> None:
    for seed in range(5):
        process = orderly.start("run", "--orders", "100000", "--seed", str(seed), *TWO)
        eventually(partial(has_workers, process.pid), within=30)
        if whom == "fork server":
            kill(fork_server_of(process.pid))
        kill(process.pid)
        eventually(partial(is_gone, process.pid), within=2)
        process.communicate()


def has_workers(parent: int) -> bool:
    return len(workers_of(parent)) == 2


def is_gone(group: int) -> bool:
    return not any(map(is_alive, processes_of(group)))


def assert_whole(orderly: Orderly, process: subprocess.Popen[str]) -> str:
    """Hold a run to having settled all its orders, as if nothing had been; return what it said."""
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    report = json.loads(out)
    assert (report["created"], report["open"], report["verified"]) == (ORDERS, 0, True)
    eventually(lambda: not processes_of(process.pid), within=2, what="no process is left")
    orderly.assert_serial()
    return err
