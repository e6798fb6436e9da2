"""One program, many processes; what fork, spawn and forkserver do differently."""

from __future__ import annotations

import multiprocessing
import os
import sys
import time
from pathlib import Path
from subprocess import PIPE
from typing import TYPE_CHECKING, Any

from lessons.stage import close, detail, play, program, say, start

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

PRICES = {"tea": 350}  # in cents, as it stands in the file


def look(told: Connection) -> None:
    """Be a child: tell what price is here, and who the parent is."""
    told.send((PRICES["tea"], os.getppid()))
    say(f"my parent is {os.getppid()}; tea costs {PRICES['tea']} here")


def run_a_program_twice() -> None:
    """Start the same program two times."""
    source = "import os; print(f'I am process {os.getpid()}, child of {os.getppid()}')"
    command = (sys.executable, "-c", source)
    with program(*command, stdout=PIPE) as first, program(*command, stdout=PIPE) as second:
        for each in (first, second):
            out, _ = each.communicate()
            say(f"the same small program, running: {out.strip()}")


def fork_by_hand() -> None:
    """Make a copy of this process: one call, which returns twice."""
    pid = os.fork()
    if pid == 0:
        say(f"fork() returned 0 here: I am the copy; tea costs {PRICES['tea']}")
        os._exit(0)
    os.waitpid(pid, 0)
    say(f"fork() returned {pid} here: I am the original")


def start_with(method: str) -> None:
    """Have multiprocessing start a child by one of its methods."""
    context: Any = multiprocessing.get_context(method)
    hears, told = context.Pipe(duplex=False)
    child = context.Process(target=look, args=(told,), name=method)
    began = time.perf_counter()
    start(child)
    price, parent = hears.recv()
    took = time.perf_counter() - began
    child.join()
    origin = "knows my new price" if price == PRICES["tea"] else "knows only the file's price"
    detail(f"{method}: {origin}; {1000 * took:.0f} ms to its first word")
    if parent != os.getpid():
        detail(f"its parent {parent} is the fork server, which I started")


def main() -> None:
    """Make processes in every way there is here."""
    file = Path(__file__)
    say(f"the program: {file.name}, {file.stat().st_size} bytes on disk")
    say(f"the process: {os.getpid()}, which runs it now; my parent is {os.getppid()}")
    run_a_program_twice()
    PRICES["tea"] = 420
    say("the price of tea rises to 420, in my memory; the file still says 350")
    fork_by_hand()
    for method in multiprocessing.get_all_start_methods():
        start_with(method)
    default = multiprocessing.get_start_method()
    say(f"without being told, this Python uses {default}; Windows has only spawn")
    close(
        "One file became many processes, each with a pid of its own. The forked ones knew the new "
        "price; the spawned ones read the file again and knew the old one.",
        "fork copies the parent as it is, spawn starts Python anew and imports the program, and a "
        "fork server is spawned once and forks clean copies of itself.",
        "services/pipeline/supervisor.py uses spawn everywhere: a fork copies only one thread and "
        "whatever locks the others hold, and this pipeline's main process has threads.",
    )


if __name__ == "__main__":
    play(main)
