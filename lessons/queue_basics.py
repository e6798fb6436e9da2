"""A bounded queue: put that waits, time-outs; and why empty() and full() lie."""

from __future__ import annotations

import multiprocessing
import queue
import threading
import time
from typing import TYPE_CHECKING

from lessons.stage import close, leave_with_parent, play, say, start
from lessons.watching import until

if TYPE_CHECKING:
    from multiprocessing.connection import Connection
    from multiprocessing.queues import Queue
    from multiprocessing.synchronize import Barrier

context = multiprocessing.get_context("spawn")


def inside_one_process() -> None:
    """Fill a queue of two, and look what put and get do at the limits."""
    orders: queue.Queue[str] = queue.Queue(maxsize=2)
    orders.put("A-1")
    orders.put("A-2")
    say(f"a queue for two holds two: full() {orders.full()}, empty() {orders.empty()}")
    try:
        orders.put_nowait("A-3")
    except queue.Full:
        say("put_nowait() on a full queue raised Full")
    began = time.perf_counter()
    try:
        orders.put("A-3", timeout=0.2)
    except queue.Full:
        say(f"put(timeout=0.2) raised Full, after {time.perf_counter() - began:.2f} s")

    consumer = threading.Timer(0.3, orders.get)
    consumer.start()
    began = time.perf_counter()
    orders.put("A-3")  # no time-out: it raises nothing, it waits
    say(f"put() blocked for {time.perf_counter() - began:.2f} s, until somebody took an order")
    say(f"first in, first out: next come {orders.get()} and {orders.get()}")
    try:
        orders.get_nowait()
    except queue.Empty:
        say("get_nowait() on an empty queue raised Empty")


def take(orders: Queue[str], looked: Barrier, told: Connection) -> None:
    """Look whether there is an order, and take it if there is."""
    leave_with_parent()
    until(lambda: not orders.empty())
    say("empty() says False: there is an order, and I shall take it")
    looked.wait(30)  # the other one looks at the same time
    try:
        say(f"got {orders.get(timeout=0.3)}")
    except queue.Empty:
        say("and yet get() found nothing: somebody was quicker")
    told.send("done")


def between_processes() -> None:
    """Catch empty() at telling what is no longer so, and what is not yet so."""
    orders: Queue[str] = context.Queue()
    looked = context.Barrier(2)
    hears, told = context.Pipe(duplex=False)
    consumers = [
        context.Process(target=take, args=(orders, looked, told), name=name)
        for name in ("consumer-1", "consumer-2")
    ]
    start(*consumers)
    orders.put("A-4")
    for consumer in consumers:
        hears.recv()
        consumer.join()
    lies = 0
    for _ in range(200):
        orders.put("A-5")
        lies += orders.empty()
        orders.get()
    say(f"right after put(), empty() still said True {lies} times of 200")


def main() -> None:
    """Look at a queue in one process, then between processes."""
    say("queue.Queue, between threads of one process")
    inside_one_process()
    say("multiprocessing.Queue, between processes")
    between_processes()
    close(
        "A full queue made put() wait, or raise Full where a time-out was given. Two consumers "
        "both saw an order, and one found nothing; a fresh order was not yet to be seen.",
        "empty() and full() tell of a moment that has passed when you read it. And "
        "multiprocessing's put() hands over to a thread, which fills the pipe a little later.",
        "shared/queue/local_queue.py asks neither: it tries put_nowait(), and takes Full for an "
        "answer. The order is in the journal then, and a nudge is owed.",
    )


if __name__ == "__main__":
    play(main)
