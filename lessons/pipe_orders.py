"""The same with pipes, ended by end-of-file, even if the producer is killed."""

from __future__ import annotations

import multiprocessing
import os
import signal
from typing import TYPE_CHECKING

from lessons.stage import close, leave_with_parent, play, say, start, work_for

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

context = multiprocessing.get_context("spawn")

ORDERS = ["A-1 of ada", "B-1 of ben", "A-2 of ada", "B-2 of ben", "A-3 of ada"]


def produce(pipes: dict[str, Connection], accident: int | None) -> None:
    """Send each order into the pipe of its customer; perhaps have an accident after some."""
    leave_with_parent()
    for count, order in enumerate(ORDERS):
        if count == accident:
            say("SIGKILL: no farewell, no end mark")
            os.kill(os.getpid(), signal.SIGKILL)
        pipes[order[0]].send(order)
        say(f"sent {order}")
    for pipe in pipes.values():
        pipe.close()
    say("closed the pipes")


def consume(pipe: Connection, paid: Connection) -> None:
    """Pay orders until the pipe ends."""
    leave_with_parent()
    while True:
        try:
            order = pipe.recv()
        except EOFError:
            say("end of file: nobody can send to me any more, so I leave")
            return
        work_for(0.1)  # the bank takes its time
        say(f"paid {order}")
        paid.send(order)


def run_shop(accident: int | None = None) -> None:
    """Let a producer send to two consumers, with a pipe for each of them."""
    receipts, paid = context.Pipe(duplex=False)  # Pipe() alone would be open both ways
    sending, consumers = {}, []
    for name in ("A", "B"):
        receiving, sending[name] = context.Pipe(duplex=False)
        consumers.append(context.Process(target=consume, args=(receiving, paid), name=name))
        start(consumers[-1])
        receiving.close()
    producer = context.Process(target=produce, args=(sending, accident), name="producer")
    start(producer)
    # Only while somebody holds a sending end can there be more to come. So this process lets go.
    for pipe in sending.values():
        pipe.close()
    paid.close()

    count = 0
    while True:
        try:
            receipts.recv()
        except EOFError:  # both consumers have let go of their end
            break
        count += 1
    for process in (producer, *consumers):
        process.join()
        say(f"{process.name} has ended with exit code {process.exitcode}")
    say(f"{count} of {len(ORDERS)} orders paid")


def main() -> None:
    """Run the shop, then run it with an accident."""
    say("First: all goes well")
    run_shop()
    say("Then: the producer is killed after three orders")
    run_shop(accident=3)
    close(
        "Both times the consumers paid what had been sent, and ended by themselves; a killed "
        "producer cannot put an end mark into a queue, but its pipes end all the same.",
        "The kernel closes a dead process's ends, and a pipe that nobody can write to any more is "
        "at its end. One pipe for each consumer: two readers of one would need a lock.",
        "services/processes/child.py waits for the end of a pipe that its parent holds, so "
        "workers leave even if the parent is killed. The orders not sent are in the journal.",
    )


if __name__ == "__main__":
    play(main)
