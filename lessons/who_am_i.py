"""Pid, parent, is_alive, exit code; and the moment after terminate()."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from typing import TYPE_CHECKING

from lessons.stage import close, leave_with_parent, play, say, start, work_for

if TYPE_CHECKING:
    from multiprocessing.context import SpawnProcess
    from multiprocessing.synchronize import Event

context = multiprocessing.get_context("spawn")


def consume(ready: Event, politely: bool) -> None:
    """Wait for orders that never come; if polite, finish the payment at hand before leaving."""
    leave_with_parent()

    def finish(_number: int, _frame: object) -> None:
        say("SIGTERM: I finish the payment at hand, then I leave")
        work_for(0.2)  # the payment
        raise SystemExit(0)

    if politely:
        signal.signal(signal.SIGTERM, finish)
    say(f"I am {os.getpid()}; my parent is {os.getppid()}")
    ready.set()
    while True:
        signal.pause()


def watch_the_end(child: SpawnProcess) -> int:
    """Terminate a child, and ask whether it is alive until it is not; count the yes."""
    child.terminate()
    sent = time.perf_counter()
    times = 0
    while child.is_alive():
        times += 1
    took = 1000 * (time.perf_counter() - sent)
    say(f"after terminate(), is_alive() was True {times} times, for {took:.1f} ms")
    return times


def main() -> None:
    """Follow a consumer from before its start to after its end."""
    ready = context.Event()
    child = context.Process(target=consume, args=(ready, False), name="consumer")
    say(f"I am {os.getpid()}; my parent, which started me, is {os.getppid()}")
    say(f"before start(): pid {child.pid}, is_alive {child.is_alive()}, exitcode {child.exitcode}")
    start(child)
    ready.wait()
    say(f"after start(): pid {child.pid}, is_alive {child.is_alive()}, exitcode {child.exitcode}")
    # On a busy machine the child may be quicker than the question; then ask another one.
    while not watch_the_end(child):
        say("that one was gone before I could ask; once more")
        ready.clear()
        child = context.Process(target=consume, args=(ready, False), name="consumer")
        start(child)
        ready.wait()
    child.join()
    say(f"after join(): is_alive {child.is_alive()}, exitcode {child.exitcode}: minus the signal")

    ready.clear()
    polite = context.Process(target=consume, args=(ready, True), name="polite")
    start(polite)
    ready.wait()
    watch_the_end(polite)
    say(f"exitcode {polite.exitcode}: it was asked, and left by itself")
    close(
        "terminate() returned at once, and is_alive() went on saying True: for a moment, or for as "
        "long as the payment took. Only after join() was the answer sure.",
        "terminate() sends SIGTERM and waits for nothing. The child has yet to notice, and may "
        "handle the signal. The exit code is None until then, and -15 if the signal ended it.",
        "services/pipeline/supervisor.py always joins after kill(), and tells a worker's own "
        "fault from somebody's signal by its exit code.",
    )


if __name__ == "__main__":
    play(main)
