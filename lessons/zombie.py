"""Make a zombie; it cannot be killed, for it is dead. Three ways of reaping."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

from lessons.stage import close, detail, fork, play, say
from lessons.watching import name_of, state_of, until

if TYPE_CHECKING:
    from types import FrameType

_SHOWN = ("Name:", "State:", "PPid:")


def pay() -> None:
    """Be a consumer with one order."""
    say("paid A-1 of ada, and I end")


def see_the_zombie(pid: int) -> None:
    """Show it as the system does: with its state, its parent, and no more memory."""
    until(lambda: state_of(pid) == "Z")
    say(f"the child {pid} has ended, and nobody has asked how: its state is {state_of(pid)}")
    status = Path(f"/proc/{pid}/status")
    if status.exists():
        lines = [line for line in status.read_text().splitlines() if line.startswith(_SHOWN)]
    else:
        command = ["ps", "-o", "pid,ppid,stat,comm", "-p", str(pid)]
        asked = subprocess.run(command, capture_output=True, text=True, check=False)
        lines = asked.stdout.splitlines()
    for line in lines:
        detail(line.expandtabs())


def reap_by_waiting() -> None:
    """Wait for the child; Process.join() does that, too."""
    pid = fork("child", pay)
    see_the_zombie(pid)
    os.kill(pid, signal.SIGKILL)
    say(f"kill -9 {pid}: no error, no effect; its state is {state_of(pid)}: dead already")
    os.waitpid(pid, 0)
    say(f"1. waitpid(), which join() calls: its state is {state_of(pid)!r}, it is gone")


def reap_on_sigchld() -> None:
    """Have the system call when a child has ended."""
    reads, writes = os.pipe()
    children: list[int] = []

    def reap(_number: int, _frame: FrameType | None) -> None:
        for pid in children:
            reaped, _ = os.waitpid(pid, os.WNOHANG)
            if reaped:
                os.write(writes, b"!")

    before = signal.signal(signal.SIGCHLD, reap)
    try:
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})  # until the child is on the list
        children.append(fork("child", pay))
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGCHLD})
        os.read(reads, 1)
    finally:
        signal.signal(signal.SIGCHLD, before)
    say(f"2. SIGCHLD came, its handler waited: the state is {state_of(children[0])!r}, it is gone")


def reap_by_the_parents_end() -> None:
    """Let the zombie's parent end without ever having waited."""
    hears, told = os.pipe()
    held, holding = os.pipe()

    def parent() -> None:
        os.close(holding)
        os.write(told, str(fork("child", pay)).encode())
        os.read(held, 1)  # until main has seen enough, or has ended
        say("I am its parent: I end without having waited for it")

    middle = fork("parent", parent)
    os.close(held)
    zombie = int(os.read(hears, 20))
    see_the_zombie(zombie)
    os.close(holding)
    os.waitpid(middle, 0)
    if os.getpid() == 1:
        os.waitpid(zombie, 0)  # started as the first process of a container: the duty is ours
    if until(lambda: not state_of(zombie), within=5):
        say(f"3. the parent's end: {name_of(1)}, pid 1, has adopted and reaped it")
    else:
        say("3. pid 1 does not reap it: a container needs an init (docker run --init)")


def main() -> None:
    """Make three zombies, and let go of each in another way."""
    reap_by_waiting()
    reap_on_sigchld()
    reap_by_the_parents_end()
    close(
        "A child that ended stayed as Z until its parent, or its adopter, waited for it. SIGKILL "
        "did nothing to it: a zombie cannot be killed, since it is dead.",
        "The system keeps a dead process's entry, its exit code and nothing else, until the parent "
        "asks. Only asking, or the parent's own end, takes the entry away.",
        "services/pipeline/supervisor.py joins every worker that has ended; services/__main__.py "
        "even waits for multiprocessing's helper process before it ends.",
    )


if __name__ == "__main__":
    play(main)
