"""No end mark: consumers that have paid every order wait for ever."""

from __future__ import annotations

import multiprocessing
from pathlib import Path
from typing import TYPE_CHECKING

from lessons.stage import close, detail, leave_with_parent, play, say, start, work_for
from lessons.watching import answer_where, where

if TYPE_CHECKING:
    from multiprocessing.connection import Connection
    from multiprocessing.queues import Queue, SimpleQueue
    from multiprocessing.synchronize import Barrier

context = multiprocessing.get_context("spawn")

ORDERS = ["A-1 of ada", "A-2 of ben", "A-3 of ada", "A-4 of cho", "A-5 of ben", "A-6 of cho"]


def consume(
    orders: Queue[str], receipts: SimpleQueue[str], ready: Barrier, answers: Connection
) -> None:
    """Pay orders. The loop has no way out."""
    leave_with_parent()
    answer_where(answers)
    ready.wait(30)
    while True:
        order = orders.get()
        work_for(0.1)  # the bank takes its time
        say(f"paid {order}")
        receipts.put(order)


def main() -> None:
    """Send six orders to three consumers, and wait for these in vain."""
    orders: Queue[str] = context.Queue()
    receipts: SimpleQueue[str] = context.SimpleQueue()
    ready = context.Barrier(4)
    answers, answering = context.Pipe(duplex=False)
    consumers = [
        context.Process(target=consume, args=(orders, receipts, ready, answering), name=name)
        for name in ("consumer-1", "consumer-2", "consumer-3")
    ]
    start(*consumers)
    ready.wait(30)
    say("three consumers are ready; here come six orders")
    for order in ORDERS:
        orders.put(order)
    paid = [receipts.get() for _ in ORDERS]
    say(f"{len(paid)} orders sent, {len(paid)} paid. Now join(): wait for the consumers to end")

    for consumer in consumers:
        consumer.join(timeout=0.3)
    for consumer in consumers:
        kernel = Path(f"/proc/{consumer.pid}/wchan")  # Linux only
        waits = f" (the kernel: {kernel.read_text()})" if kernel.exists() else ""
        say(f"{consumer.name}, pid {consumer.pid}, is alive and stands at{waits}")
        stack = where(consumer, answers, at="orders.get()")
        for line in (stack[0], stack[1], stack[-1]):
            detail(line)
    say("join() without a time-out would wait for ever, too; I kill all three")
    for consumer in consumers:
        consumer.kill()
        consumer.join()

    close(
        "Every order was paid and no consumer ended. One waits for the next order, in read(); "
        "the others wait for the lock that this one holds while it reads.",
        "get() cannot know that no more orders will come. Somebody has to say so: see v2-sentinel.",
        "services/worker/process.py ends its loop at EndOfQueue, and waits for 0.25 s at a time.",
    )


if __name__ == "__main__":
    play(main)
