"""A queue from the main process to a child, and one for the answers."""

from __future__ import annotations

import multiprocessing
import os
from typing import TYPE_CHECKING

from lessons.stage import close, leave_with_parent, play, say, start, work_for

if TYPE_CHECKING:
    from multiprocessing.queues import Queue

context = multiprocessing.get_context("spawn")

ORDERS = [("A-1 of ada", 1250), ("A-2 of ben", 700), ("A-3 of cho", 4300)]  # prices in cents


def consume(orders: Queue[tuple[str, int] | None], receipts: Queue[str]) -> None:
    """Pay what comes, send a receipt for each, and leave at the end mark."""
    leave_with_parent()
    while (order := orders.get()) is not None:
        name, cents = order
        work_for(0.1)  # the bank takes its time
        say(f"paid {name}: {cents / 100:.2f} EUR")
        receipts.put(f"{name}, by process {os.getpid()}")
    say("no more orders; I end")


def main() -> None:
    """Send orders to a child, and read its receipts."""
    orders: Queue[tuple[str, int] | None] = context.Queue()
    receipts: Queue[str] = context.Queue()
    consumer = context.Process(target=consume, args=(orders, receipts), name="consumer")
    start(consumer)
    for order in ORDERS:
        orders.put(order)
    orders.put(None)
    say(f"put {len(ORDERS)} orders and an end mark; put() did not wait for the child")
    for _ in ORDERS:
        say(f"receipt for {receipts.get()}")
    consumer.join()

    basket = ["tea"]
    copies: Queue[list[str]] = context.Queue()
    copies.put(basket)
    received = copies.get()
    received.append("coffee")
    say(f"I sent {basket}; changed where it arrived: {received}; here: {basket}")
    close(
        "The main process put orders in and went on; the child took them in the same sequence, "
        "and its receipts came back through the other queue.",
        "A queue is a pipe with locks, and a thread that packs things up (pickle). What arrives is "
        "a copy. A queue goes to a child as an argument, for it carries the pipe's ends.",
        "shared/queue/local_queue.py carries bytes of JSON, not pickled objects: the other end "
        "checks what it reads. services/pipeline/local.py gives each worker its queue as an "
        "argument.",
    )


if __name__ == "__main__":
    play(main)
