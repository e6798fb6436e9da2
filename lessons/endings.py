"""Four ways to end: by itself, by an error, by a fatal fault, by a kill."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import resource
import signal
import sys
from typing import TYPE_CHECKING

from lessons.stage import close, detail, leave_with_parent, play, say, start

if TYPE_CHECKING:
    from collections.abc import Callable
    from multiprocessing.synchronize import Event

context = multiprocessing.get_context("spawn")


def pay(_ready: Event) -> None:
    """End by itself, with all done."""
    say("paid A-1 of ada; nothing left to do")


def refuse(_ready: Event) -> None:
    """End by itself, with a code that says why."""
    say("no orders file; I leave with code 3")
    sys.exit(3)


def stumble(_ready: Event) -> None:
    """End by an error that nobody catches."""
    sys.tracebacklimit = 0  # this once, the last line of the traceback is enough
    say("looking up the price of coffee ...")
    prices = {"tea": 350}
    prices["coffee"]


def crash(_ready: Event) -> None:
    """End by a fault below Python, which no `except` can catch."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # leave no core file
    say("reading memory at address 0 ...")
    try:
        ctypes.string_at(0)
    finally:
        say("this line is never printed")


def wait_for_orders(ready: Event) -> None:
    """End by another's hand."""
    leave_with_parent()
    say("waiting for orders")
    ready.set()
    while True:
        signal.pause()


def ending(name: str, target: Callable[[Event], None], kill_with: int = 0) -> None:
    """Run a child to its end, and tell what its parent learns of it."""
    ready = context.Event()
    child = context.Process(target=target, args=(ready,), name=name)
    start(child)
    if kill_with:
        ready.wait()
        os.kill(child.pid or 0, kill_with)
    child.join()
    code = child.exitcode or 0
    meaning = f", killed by {signal.Signals(-code).name}" if code < 0 else ""
    detail(f"exit code of {name}: {code}{meaning}")


def main() -> None:
    """Let six children end in four ways."""
    say("1. by itself: the work is done, or it says why not")
    ending("payer", pay)
    ending("refuser", refuse)
    say("2. by an error of its own: multiprocessing prints it; exit code 1")
    ending("stumbler", stumble)
    say("3. by a fatal fault: the kernel ends it, finally blocks do not run")
    ending("crasher", crash)
    say("4. by another's kill: politely (SIGTERM), or at once (SIGKILL)")
    ending("asked", wait_for_orders, signal.SIGTERM)
    ending("killed", wait_for_orders, signal.SIGKILL)
    close(
        "0 for done, a number of its own choice, 1 for an error, and minus the signal's number for "
        "those that the kernel ended, for a fault or because somebody asked for it.",
        "A process ends by exit with a code, or by a signal. The parent learns which when it "
        "waits; nobody else is told.",
        "services/pipeline/supervisor.py replaces a worker whatever its exit code was, and blames "
        "the batch at hand only if the worker ended by itself.",
    )


if __name__ == "__main__":
    play(main)
