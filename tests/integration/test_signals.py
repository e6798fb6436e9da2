"""Signals of terminals and shells: hangups, Ctrl-C, Ctrl-Z, and those that are to be ignored."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.integration.test_chaos import assert_nothing_runs
from tests.support.eventually import eventually
from tests.support.ledgers import order
from tests.support.orderly import COMMAND, Orderly, kill, processes_of, workers_of
from tests.support.processes import is_alive

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.server import Server

# What a terminal's program is started by: it leads a session, and the terminal is its own.
ON_TERMINAL = """
import fcntl, os, sys, termios
os.setsid()
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execvp(sys.argv[1], sys.argv[1:])
"""


@pytest.fixture(autouse=True)
def few_workers(orderly: Orderly) -> None:
    """A start costs less so."""
    orderly.environment |= {"PAYMENT_WORKERS": "1", "REDRIVE_AFTER": "0.5"}


def ignoring(name: str) -> list[str]:
    """Start a command as ``nohup`` or a shell does: with a signal ignored."""
    return ["sh", "-c", f'trap "" {name}; exec "$@"', "sh", *COMMAND]


@pytest.mark.long
@pytest.mark.parametrize("name", ["HUP", "INT"])
def test_a_signal_that_is_ignored_at_the_start_stays_ignored(server: Server, name: str) -> None:
    server.start(command=ignoring(name))
    workers = server.workers
    os.killpg(server.pid, signal.Signals[f"SIG{name}"])
    assert server.place(order("a-1")).status_code == 202
    server.settle()
    assert server.workers == workers
    assert server.stop().code == 0


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGINT])
def test_workers_that_are_just_starting_are_not_ended_by_their_terminal(
    orderly: Orderly, number: signal.Signals
) -> None:
    orderly.environment["PAYMENT_WORKERS"] = "2"
    running = orderly.start("run", "--orders", "500", "--seed", "5")
    eventually(lambda: workers_of(running.pid), within=60)
    os.killpg(running.pid, number)
    _, err = running.communicate(timeout=90)
    assert "Traceback" not in err
    assert "worker replaced" not in err
    assert "resource_tracker" not in err
    assert_nothing_runs(running)
    assert orderly.left_open() == 0


def test_a_terminal_that_is_closed_leaves_nobody_behind(orderly: Orderly) -> None:
    mine, theirs = pty.openpty()
    shell = [sys.executable, "-c", ON_TERMINAL, "sh", "-c", '"$@" & wait', "sh"]
    with (orderly.folder / "err").open("wb") as said:
        # A shell, which has the terminal, and what it started; they are hung up together.
        running = subprocess.Popen(
            [*shell, *COMMAND, "run", "--orders", "100000", "--rate", "1000", "--seed", "5"],
            cwd=orderly.folder,
            env=orderly._environment(),
            stdin=theirs,
            stdout=theirs,
            stderr=said,
        )
    os.close(theirs)
    eventually(lambda: orderly.settled() > 0, within=60)
    group = processes_of(running.pid)
    assert len(group) >= 3
    os.close(mine)
    running.wait(60)
    eventually(lambda: not any(map(is_alive, group)), within=60, what="all have ended")
    assert orderly.left_open() == 0
    assert "Traceback" not in (orderly.folder / "err").read_text()


class Stopped:
    """A run that can be stopped as by Ctrl-Z: its process group has a parent in its session."""

    def __init__(self, orderly: Orderly) -> None:
        self.process = subprocess.Popen(
            [*COMMAND, "run", "-", "--json"],
            cwd=orderly.folder,
            env=orderly._environment() | {"STALL_AFTER": "60"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            process_group=0,
        )

    @property
    def states(self) -> set[str]:
        pids = [self.process.pid, *workers_of(self.process.pid)]
        stats = [Path(f"/proc/{pid}/stat").read_text() for pid in pids]
        return {stat.rsplit(")", 1)[1].split()[0] for stat in stats}

    def send(self, number: int) -> None:
        os.killpg(self.process.pid, number)

    def close(self) -> None:
        if self.process.poll() is None:
            self.send(signal.SIGKILL)
            self.process.communicate()


@pytest.fixture
def stopped(orderly: Orderly) -> Iterator[Stopped]:
    run = Stopped(orderly)
    yield run
    run.close()


@pytest.mark.long
def test_who_is_stopped_by_ctrl_z_holds_nobody_up(server: Server, stopped: Stopped) -> None:
    server.start()
    taking = stopped.process.stdin
    assert taking is not None
    orders = server.orderly("generate", "20000", "--seed", "5").out.splitlines(keepends=True)
    for turn in range(10):
        taking.write("".join(orders[turn * 2000 : (turn + 1) * 2000]).encode())
        taking.flush()
        stopped.send(signal.SIGTSTP)
        eventually(lambda: stopped.states == {"T"}, within=30, what="all of it is stopped")
        assert server.place(order(f"a-{turn}")).status_code == 202
        stopped.send(signal.SIGCONT)
        eventually(lambda: "T" not in stopped.states, within=30, what="it goes on")
    out, err = stopped.process.communicate(timeout=90)
    assert stopped.process.returncode == 0, err
    assert b'"created": 20000' in out
    server.settle()
    assert server.stop().code == 0
    server.orderly.assert_serial()


@pytest.mark.long
def test_who_is_told_to_go_on_at_once_does_not_stop_later(stopped: Stopped) -> None:
    eventually(lambda: workers_of(stopped.process.pid), within=60)
    for _ in range(20):
        stopped.send(signal.SIGTSTP)
        stopped.send(signal.SIGCONT)
    _, err = stopped.process.communicate(timeout=90)
    assert stopped.process.returncode == 0, err


@pytest.mark.long
@pytest.mark.anew
@pytest.mark.parametrize("words", [["run"], ["status"], ["serve", "--port", "0"], ["verify"]])
def test_a_ctrl_c_at_any_moment_is_no_traceback(orderly: Orderly, words: list[str]) -> None:
    assert orderly("run", "--orders", "2000", "--seed", "5").code == 0
    started = []
    for step in range(5):
        process = orderly.start(*words)
        started.append(process)
        # Whatever it has got to by now: what counts is how it ends.
        eventually(lambda p=process, s=step: has_used(p, s), within=60)  # type: ignore[misc]
        kill(process.pid, signal.SIGINT)
    for process in started:
        _, err = process.communicate(timeout=90)
        assert "Traceback" not in err
        assert process.returncode in {0, 1, 130, -signal.SIGINT}, err


def has_used(process: subprocess.Popen[Any], steps: int) -> bool:
    """Whether a process has got so far, by the processor time that it took, or has ended."""
    try:
        fields = Path(f"/proc/{process.pid}/stat").read_text().rsplit(")", 1)[1].split()
    except OSError:
        return True
    return fields[0] == "Z" or int(fields[11]) + int(fields[12]) >= 8 * steps + 6
