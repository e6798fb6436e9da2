"""A queue between two children: the main process only introduces them."""

from __future__ import annotations

import multiprocessing
import time
from typing import TYPE_CHECKING

from lessons.stage import close, leave_with_parent, play, say, start, work_for

if TYPE_CHECKING:
    from multiprocessing.queues import Queue

context = multiprocessing.get_context("spawn")

ORDERS = ["A-1 of ada", "A-2 of ben", "A-3 of cho", "A-4 of ada", "A-5 of dan"]
END = None


def produce(orders: Queue[str | None]) -> None:
    """Be the website: put orders as they come, and the end mark behind them."""
    leave_with_parent()
    for order in ORDERS:
        began = time.perf_counter()
        orders.put(order)
        waited = time.perf_counter() - began
        say(f"put {order}" + (f", after waiting {waited:.2f} s for room" if waited > 0.02 else ""))
    orders.put(END)


def consume(orders: Queue[str | None]) -> None:
    """Be the payment: slower than the website."""
    leave_with_parent()
    while (order := orders.get()) is not END:
        work_for(0.15)  # the bank takes its time
        say(f"paid {order}")


def main() -> None:
    """Make the queue and both children, and stand aside."""
    orders: Queue[str | None] = context.Queue(maxsize=2)
    website = context.Process(target=produce, args=(orders,), name="website")
    payment = context.Process(target=consume, args=(orders,), name="payment")
    start(payment, website)
    say(f"{website.pid} will send to {payment.pid}; I handle no order myself")
    website.join()
    payment.join()
    say(f"both have ended: exit codes {website.exitcode} and {payment.exitcode}")
    close(
        "Two children of one parent spoke through a queue that the parent had made. With room for "
        "two orders, the quick website was held back to the pace of the payment.",
        "Only what the parent hands to both connects them. A bound on the queue lets the slow side "
        "slow down the quick one; without it, orders would pile up in memory.",
        "services/producer/batcher.py waits while the ledger has no room for more (MAX_PENDING). "
        "The producer is the parent itself in services/pipeline/local.py, so it can replace a "
        "queue.",
    )


if __name__ == "__main__":
    play(main)
