"""A pipe: both ways unless told otherwise, read once, and ends to close."""

from __future__ import annotations

import multiprocessing
from typing import TYPE_CHECKING

from lessons.stage import close, detail, leave_with_parent, play, say, start, work_for
from lessons.watching import answer_where, where

if TYPE_CHECKING:
    from multiprocessing.connection import Connection
    from multiprocessing.synchronize import Barrier, Lock

context = multiprocessing.get_context("spawn")


def both_ways_or_one() -> None:
    """Show what Pipe() makes, and what Pipe(duplex=False) makes."""
    left, right = context.Pipe()
    left.send("A-1 of ada")
    right.send(f"a receipt for {right.recv()}")
    say(f"Pipe() is open both ways: an order went, and {left.recv()} came")
    receiving, _sending = context.Pipe(duplex=False)
    try:
        receiving.send("A-1 of ada")
    except OSError as error:
        say(f"Pipe(duplex=False): send() at the first end: OSError: {error}")


def take(receiving: Connection, turn: Lock, ready: Barrier) -> None:
    """Take orders until the pipe ends."""
    leave_with_parent()
    ready.wait(30)
    while True:
        with turn:  # a message is read in pieces: two readers at once would tear it
            try:
                order = receiving.recv()
            except EOFError:
                return
        say(f"read {order}")
        work_for(0.05)  # the bank takes its time


def read_once() -> None:
    """Let two processes read one pipe."""
    receiving, sending = context.Pipe(duplex=False)
    turn, ready = context.Lock(), context.Barrier(3)
    readers = [
        context.Process(target=take, args=(receiving, turn, ready), name=name)
        for name in ("reader-1", "reader-2")
    ]
    start(*readers)
    ready.wait(30)
    for number in range(1, 6):
        sending.send(f"A-{number}")
    sending.close()
    for reader in readers:
        reader.join()


def consume(
    receiving: Connection,
    sending: Connection,
    close_unused: bool,
    answers: Connection,
) -> None:
    """Read until the pipe ends; this process was given both ends of it."""
    leave_with_parent()
    answer_where(answers)
    if close_unused:
        sending.close()
    answers.send("ready")
    try:
        while True:
            order = receiving.recv()
            say(f"paid {order}")
    except EOFError:
        say("end of file: nobody holds a sending end any more; I leave")


def close_or_not(close_unused: bool) -> None:
    """Give a child both ends, and see whether it ever finds the end of the pipe."""
    receiving, sending = context.Pipe(duplex=False)
    answers, answering = context.Pipe(duplex=False)
    child = context.Process(
        target=consume, args=(receiving, sending, close_unused, answering), name="consumer"
    )
    start(child)
    answers.recv()  # "ready"
    sending.send("A-6 of cho")
    sending.close()
    if close_unused:
        child.join()
        return
    stack = where(child, answers, at="receiving.recv()")
    say(f"I have closed my sending end; consumer, pid {child.pid}, stands at")
    for line in (stack[0], stack[-1]):
        detail(line)
    child.join(timeout=0.3)
    say(f"0.3 s later: is_alive() {child.is_alive()}. It has a sending end itself; I kill it")
    child.kill()


def main() -> None:
    """Show what a pipe is, and how it ends."""
    both_ways_or_one()
    say("Two readers, five orders: each is read once, by one of them")
    read_once()
    say("A child that closes the end it does not use:")
    close_or_not(close_unused=True)
    say("A child that leaves it open:")
    close_or_not(close_unused=False)
    close(
        "Each order was read by one reader. The child that had closed its sending end left at the "
        "end of file; the one that kept it waited for a message from itself, for ever.",
        "A pipe is at its end when no process holds a sending end. A forked child inherits all "
        "ends without being asked, so there it is easily forgotten.",
        "services/pipeline/supervisor.py spawns, so a worker gets no end that it was not handed; "
        "a queue's reading end is closed by shared/queue/local_queue.py when its worker is dead.",
    )


if __name__ == "__main__":
    play(main)
