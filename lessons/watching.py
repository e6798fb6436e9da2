"""Where processes stand: what the system tells of them, and what they tell themselves."""

from __future__ import annotations

import os
import signal
import subprocess
import time
import traceback
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from multiprocessing.connection import Connection
    from multiprocessing.process import BaseProcess
    from types import FrameType

_HAS_PROC = Path("/proc/self/stat").exists()  # Linux


def state_of(pid: int) -> str:
    """Ask the system for a process's state, in its one letter; "" if there is no such process."""
    if _HAS_PROC:
        with suppress(OSError):
            return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        return ""
    asked = subprocess.run(
        ["ps", "-o", "state=", "-p", str(pid)], capture_output=True, text=True, check=False
    )
    return asked.stdout.strip()[:1]


def name_of(pid: int) -> str:
    """Ask the system for the name of a process's program."""
    if _HAS_PROC:
        with suppress(OSError):
            return Path(f"/proc/{pid}/comm").read_text().strip()
    asked = subprocess.run(
        ["ps", "-o", "comm=", "-p", str(pid)], capture_output=True, text=True, check=False
    )
    return Path(asked.stdout.strip()).name


def children() -> set[int]:
    """Ask the system for the pids of this process's children."""
    me = os.getpid()
    if not _HAS_PROC:
        asked = subprocess.Popen(["pgrep", "-P", str(me)], stdout=subprocess.PIPE, text=True)
        return {int(word) for word in asked.communicate()[0].split()} - {asked.pid}
    found = set()
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            pid, _, rest = stat.read_text().partition(" ")
            if int(rest.rpartition(")")[2].split()[1]) == me:
                found.add(int(pid))
    return found


def until(condition: Callable[[], object], within: float = 10.0) -> bool:
    """Look until a condition is true, for as many seconds at most; return whether it came true.

    Nobody calls when a process that is not our child changes its state, so this is a loop.
    """
    deadline = time.monotonic() + within
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.005)  # the pause between two looks; the deadline above ends them
    return True


def answer_where(answers: Connection) -> None:
    """In a child: when `where` asks, tell the line at which this process stands."""

    def answer(_number: int, frame: FrameType | None) -> None:
        stack = traceback.extract_stack(frame)
        answers.send([f"{Path(each.filename).name}:{each.lineno}  {each.line}" for each in stack])

    signal.signal(signal.SIGUSR1, answer)


def where(process: BaseProcess, answers: Connection, at: str) -> list[str]:
    """Ask a child where it stands, until it stands still ``at`` some code of its lesson.

    Returns:
        The lines that lead there, from that one inward: the last is the one that blocks.

    Raises:
        TimeoutError: It did not come there within ten seconds, or does not answer.
    """
    before: list[str] = []
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        os.kill(process.pid or 0, signal.SIGUSR1)
        if not answers.poll(10):
            break
        stack: list[str] = answers.recv()
        if stack == before:
            for number, line in enumerate(stack):
                if at in line:
                    return stack[number:]
        before = stack
        process.join(0.02)
    raise TimeoutError(f"{process.name} never came to {at!r}")
