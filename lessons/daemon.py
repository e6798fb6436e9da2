"""The system's daemons, the daemon flag, and who ends with whom."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from lessons.stage import close, detail, leave_with_parent, play, say, start, work_for
from lessons.watching import state_of, until

if TYPE_CHECKING:
    from multiprocessing.connection import Connection
    from multiprocessing.context import SpawnProcess

context = multiprocessing.get_context("spawn")


def report() -> None:
    """Be a child that has something to finish."""
    leave_with_parent()
    work_for(0.4)  # writing the day's report
    say("no daemon: my report is written, and I end")


def stand_by(line: Connection, ready: Connection, follow: bool) -> None:
    """Tell who the parent is, as often as asked, until main hangs up."""
    if follow:
        leave_with_parent()
    ready.send("ready")
    with suppress(EOFError):
        while line.recv():
            line.send(os.getppid())


def shop(lines: dict[str, Connection], told: Connection, to_be_killed: bool) -> None:
    """Be the parent of daemons."""
    leave_with_parent()
    hears, ready = context.Pipe(duplex=False)
    daemons = [
        context.Process(target=stand_by, args=(line, ready, name == "following"), name=name)
        for name, line in lines.items()
    ]
    for child in daemons:
        child.daemon = True
    start(*daemons)
    for _ in daemons:
        hears.recv()
    told.send([child.pid for child in daemons])
    if to_be_killed:
        signal.pause()
    start(context.Process(target=report, name="report"))
    say(f"my work is done; my daemon {daemons[0].pid} and the report go on")


def show_the_systems() -> None:
    """Show some of the system's daemons: no terminal, and the first process for a parent."""
    if shutil.which("ps") is None:
        say("the system's daemons: there is no ps here to list them")
        return
    command = ["ps", "-A", "-o", "pid=,ppid=,tty=,stat=,comm="]
    asked = subprocess.run(command, capture_output=True, text=True, check=False)
    rows = [line.split(None, 4) for line in asked.stdout.splitlines()]
    found = [
        (pid, name)
        for pid, parent, tty, state, name in rows
        if parent == "1" and tty[0] == "?" and state[0] != "Z" and int(pid) != os.getpid()
    ]
    say(f"the system's daemons have no terminal, and pid 1 for a parent: {len(found)} here")
    for pid, name in found[:3]:
        detail(f"{pid:>7} {Path(name).name}")


def open_shop(*names: str, to_be_killed: bool) -> tuple[SpawnProcess, list[int], list[Connection]]:
    """Start a shop with daemons of these names; return it, their pids and the lines to them."""
    pairs = {name: context.Pipe() for name in names}
    hears, told = context.Pipe(duplex=False)
    theirs = {name: end for name, (_, end) in pairs.items()}
    parent = context.Process(target=shop, args=(theirs, told, to_be_killed), name="shop")
    start(parent)
    for end in theirs.values():
        end.close()
    return parent, hears.recv(), [ours for ours, _ in pairs.values()]


def main() -> None:
    """Show the flag, what it does, and what it cannot do."""
    show_the_systems()
    say("multiprocessing's daemon flag is another thing: who is waited for")
    parent, (daemon,), _ = open_shop("daemon", to_be_killed=False)
    parent.join()
    say(
        f"the shop has ended, after the report; its daemon {daemon} is {state_of(daemon) or 'gone'}"
    )

    late = context.Process(target=report, name="late")
    start(late)
    try:
        late.daemon = True
    except AssertionError as error:
        say(f"daemon = True after start(): AssertionError: {error}")
    late.kill()

    say("Now a shop is killed with SIGKILL, and can run no code at its end")
    parent, (plain, following), (line, other_line) = open_shop(
        "plain", "following", to_be_killed=True
    )
    parent.kill()
    parent.join()
    with suppress(EOFError, ConnectionResetError):
        other_line.recv()
    say(f"following, {following}, watched its parent, and has left with it")
    line.send("who is your parent?")
    adopter = line.recv()
    say(f"plain, {plain}, is still there, and {adopter} has adopted it")
    line.close()
    until(lambda: not state_of(plain) and not state_of(following))
    say(f"I hung up on {plain}: now it is gone, too")
    close(
        "At its end the shop terminated its daemon and waited for the other child. Killed, it did "
        "neither: the plain daemon lived on as an orphan.",
        "The flag tells the parent what to do when it ends: terminate daemons, join the others. "
        "The system knows nothing of it, and a killed parent does nothing any more.",
        "services/processes/child.py asks Linux to end a worker with its parent, and has a thread "
        "that waits for the parent's sentinel everywhere: so did the one called following.",
    )


if __name__ == "__main__":
    play(main)
