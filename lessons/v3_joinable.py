"""task_done() and join(): the producer learns that all is paid."""

from __future__ import annotations

import multiprocessing
import os
from typing import TYPE_CHECKING

from lessons.stage import close, leave_with_parent, play, say, start, work_for

if TYPE_CHECKING:
    from multiprocessing.connection import Connection
    from multiprocessing.queues import JoinableQueue

context = multiprocessing.get_context("spawn")

ORDERS = ["A-1 of ada", "A-2 of ben", "A-3 of ada", "A-4 of cho", "A-5 of ben"]


def consume(orders: JoinableQueue[str]) -> None:
    """Pay orders for ever, and mark each one done when it is paid, not when it is taken."""
    leave_with_parent()
    while True:
        order = orders.get()
        say(f"took {order}")
        work_for(0.1)  # the bank takes its time
        say(f"paid {order}")
        orders.task_done()


def shop(orders: JoinableQueue[str], told: Connection) -> None:
    """Be the program of this version: a producer with two daemon consumers."""
    leave_with_parent()
    consumers = [
        context.Process(target=consume, args=(orders,), name=name, daemon=True)
        for name in ("consumer-1", "consumer-2")
    ]
    start(*consumers)
    told.send([consumer.pid for consumer in consumers])
    for order in ORDERS:
        orders.put(order)
    say(f"put {len(ORDERS)} orders; join() waits until as many task_done() have come")
    orders.join()
    alive = sum(consumer.is_alive() for consumer in consumers)
    say(f"join() has returned; {alive} consumers still wait in get(); I end")


def one_too_many() -> None:
    """Mark an order done twice."""
    orders: JoinableQueue[str] = context.JoinableQueue()
    orders.put("A-6 of cho")
    orders.get()
    orders.task_done()
    try:
        orders.task_done()
    except ValueError as error:
        say(f"task_done() twice: ValueError: {error}")


def is_there(pid: int) -> bool:
    """Whether a process of this id exists: signal 0 is only a question."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def main() -> None:
    """Run the shop in a process of its own, so that somebody is left to look at its end."""
    orders: JoinableQueue[str] = context.JoinableQueue()
    hears, told = context.Pipe(duplex=False)
    program = context.Process(target=shop, args=(orders, told), name="shop")
    start(program)
    consumers = hears.recv()
    program.join()
    for pid in consumers:
        say(f"daemon consumer {pid}: {'still there' if is_there(pid) else 'gone with the shop'}")
    one_too_many()
    close(
        "join() returned when the last order was marked done, not when it was taken. The consumers "
        "were still waiting then; as daemons they were terminated when the shop ended.",
        "JoinableQueue counts: put() adds one, task_done() takes one off, join() waits for zero. A "
        "consumer that dies in between leaves the count at one for ever: see v4-killed.",
        "shared/queue/local_queue.py is a JoinableQueue for each worker, and its join() has a "
        "deadline. services/pipeline/local.py starts the workers as daemons, and ends them in "
        "order.",
    )


if __name__ == "__main__":
    play(main)
