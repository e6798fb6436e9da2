"""Ready, running, sleeping, stopped, zombie: the models, and what one sees."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from lessons.stage import close, detail, leave_with_parent, play, say, show, start
from lessons.watching import state_of, until

if TYPE_CHECKING:
    from multiprocessing.connection import Connection
    from multiprocessing.context import SpawnProcess
    from multiprocessing.synchronize import Event

context = multiprocessing.get_context("spawn")

MODELS = """\
three states  ready -> running -> blocked -> ready ...
five states   new -> ready -> running -> blocked -> ready ... -> terminated
this system   R running or ready, S sleeping (blocked), T stopped, Z zombie
"""


def price(orders: Connection, go_on: Event) -> None:
    """Wait for an order, work out prices until told to stop, and end."""
    leave_with_parent()
    orders.recv()
    say("an order came: working out its price")
    while not go_on.is_set():
        sum(number * number for number in range(1000))
    say("done, and I end")


def compete(go_on: Event, cpu: int) -> None:
    """Work on one CPU only, which another process wants, too."""
    leave_with_parent()
    os.sched_setaffinity(0, {cpu})  # type: ignore[attr-defined, unused-ignore]  # Linux
    while not go_on.is_set():
        sum(number * number for number in range(1000))


def see(pid: int, state: str, what: str) -> None:
    """Say what the system shows, once it is what is expected."""
    until(lambda: state_of(pid) in state)
    say(f"{what:<10} the system says {state_of(pid)!r}")


def cpu_times(process: SpawnProcess) -> tuple[float, float]:
    """Ask Linux for the seconds that a process ran, and those that it was ready and waited."""
    ran, waited, _ = Path(f"/proc/{process.pid}/schedstat").read_text().split()
    return int(ran) / 1e9, int(waited) / 1e9


def share_a_cpu() -> None:
    """Tell ready from running: the system has one letter for both, but counts the time of each."""
    if sys.platform != "linux":
        say("ready or running: only Linux shows how long a process waited for a CPU")
        return
    cpu = min(os.sched_getaffinity(0))
    enough = context.Event()
    rivals = [
        context.Process(target=compete, args=(enough, cpu), name=f"rival-{number}")
        for number in (1, 2)
    ]
    start(*rivals)
    until(lambda: all(cpu_times(rival)[1] > 0.2 for rival in rivals))
    letters = [state_of(rival.pid or 0) for rival in rivals]
    say(f"two busy processes on one CPU: the system says {letters}")
    for rival in rivals:
        ran, waited = cpu_times(rival)
        detail(f"{rival.name}: running for {ran:.2f} s, ready for {waited:.2f} s")
    enough.set()
    for rival in rivals:
        rival.join()


def main() -> None:
    """Lead one process through all states."""
    for line in MODELS.splitlines():
        show(line)
    receiving, sending = context.Pipe(duplex=False)
    done = context.Event()
    child = context.Process(target=price, args=(receiving, done), name="pricer")
    say(f"created:   a Process object, pid {child.pid}; the system knows nothing")
    start(child)
    pid = child.pid or 0
    see(pid, "S", "sleeping:")
    sending.send("A-1 of ada")
    see(pid, "R", "running:")
    os.kill(pid, signal.SIGSTOP)
    see(pid, "T", "stopped:")
    os.kill(pid, signal.SIGCONT)
    see(pid, "R", "continued:")
    done.set()
    see(pid, "Z", "zombie:")
    child.join()
    say(f"joined:    the system says {state_of(pid)!r}: it is gone")
    share_a_cpu()
    close(
        "One process slept while it waited for an order, ran, was stopped and continued, and was a "
        "zombie from its end until join(). Two on one CPU were in turn running and ready.",
        "A process that waits for something costs no CPU. One that could run waits for a CPU, and "
        "the system gives each its turns: next, see scheduling.",
        "services/pipeline/supervisor.py cannot see these letters everywhere, so it watches for "
        "signs of life: a worker that is stopped gives none, and is killed and replaced.",
    )


if __name__ == "__main__":
    play(main)
