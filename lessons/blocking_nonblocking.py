"""Wait inside a call, or be told "not yet": a receipt, fetched in three ways."""

from __future__ import annotations

import multiprocessing
import os
import time
from multiprocessing.connection import wait
from typing import TYPE_CHECKING

from lessons.stage import close, detail, leave_with_parent, play, say, start, work_for

if TYPE_CHECKING:
    from collections.abc import Callable
    from multiprocessing.connection import Connection

context = multiprocessing.get_context("spawn")


def bank(questions: Connection, receipts: Connection) -> None:
    """Send a receipt 0.3 s after each question."""
    leave_with_parent()
    while order := questions.recv():
        work_for(0.3)  # the bank's work: the wait that this lesson is about
        os.write(receipts.fileno(), f"{order} is paid".encode())


def blocking(receipts: int) -> int:
    """Read; the call comes back when there is something to read."""
    say(f"read() returned {os.read(receipts, 100)!r}")
    return 1


def nonblocking(receipts: int) -> int:
    """Read without waiting, again and again."""
    os.set_blocking(receipts, False)
    calls = 0
    while True:
        calls += 1
        try:
            receipt = os.read(receipts, 100)
        except BlockingIOError as error:
            if calls == 1:
                say(f"read() raised {type(error).__name__}: {error.strerror}")
        else:
            say(f"read() returned {receipt!r}")
            return calls


def with_a_time_limit(receipts: int) -> int:
    """Wait until there is something to read, but not for long; do something else in between."""
    calls = 1
    while not wait([receipts], timeout=0.08):
        calls += 1
        say("not yet; there is time to pack a parcel")
    say(f"read() returned {os.read(receipts, 100)!r}")
    return calls


def main() -> None:
    """Fetch a receipt each way, and measure what it cost."""
    asked, asking = context.Pipe(duplex=False)
    receipts, receipts_out = context.Pipe(duplex=False)
    start(context.Process(target=bank, args=(asked, receipts_out), name="bank"))
    ways: list[Callable[[int], int]] = [blocking, nonblocking, with_a_time_limit]
    for number, way in enumerate(ways, 1):
        name = way.__name__.replace("_", " ")
        say(f"{name}: asking the bank to pay A-{number}")
        asking.send(f"A-{number}")
        began, cpu = time.perf_counter(), time.process_time()
        calls = way(receipts.fileno())
        took, used = time.perf_counter() - began, time.process_time() - cpu
        detail(f"{name}: {took:.2f} s, of which {used:.2f} s on the CPU; calls: {calls}")
    asking.send("")
    close(
        "The receipt came after 0.3 s each way. The blocking call slept until then; the other one "
        "asked many thousand times, and kept a CPU busy with it.",
        "A blocking call lets the system wake you. A non-blocking one leaves the waiting to you, "
        "so have something else to do, or wait for several things at once, with a limit.",
        "services/worker/process.py blocks for at most 0.25 s at a time, to show signs of life in "
        "between; shared/queue/local_queue.py never blocks a producer for room.",
    )


if __name__ == "__main__":
    play(main)
