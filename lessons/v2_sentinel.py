"""One end mark per consumer: nothing is lost; and two ways to get it wrong."""

from __future__ import annotations

import multiprocessing
from multiprocessing.connection import wait
from typing import TYPE_CHECKING

from lessons.stage import close, detail, leave_with_parent, play, say, start, work_for
from lessons.watching import answer_where, where

if TYPE_CHECKING:
    from multiprocessing.connection import Connection
    from multiprocessing.queues import Queue, SimpleQueue
    from multiprocessing.synchronize import Event

    Orders = Queue[str | None]

context = multiprocessing.get_context("spawn")

END = None  # the end mark, also called sentinel: something that can never be an order
WEBSITE = ["W-1 of ada", "W-2 of ben", "W-3 of cho", "W-4 of ada"]
PHONE = ["P-1 of dan", "P-2 of eve"]
CONSUMERS = ("consumer-1", "consumer-2", "consumer-3")


def produce(orders: Orders, taken: list[str], go: Event) -> None:
    """Send the orders that one channel has taken, when told to go."""
    leave_with_parent()
    go.wait()
    for order in taken:
        orders.put(order)
    say(f"sent {len(taken)} orders")


def consume(orders: Orders, receipts: SimpleQueue[str], answers: Connection) -> None:
    """Pay orders until an end mark comes."""
    leave_with_parent()
    answer_where(answers)
    receipts.put("ready")
    while (order := orders.get()) is not END:
        work_for(0.05)  # the bank takes its time
        say(f"paid {order}")
        receipts.put(order)
    say("took an end mark, and leaves")


def run_shop(marks: int, *, phone_is_late: bool) -> None:
    """Let two producers and three consumers work, and send so many end marks."""
    orders: Orders = context.Queue()
    receipts: SimpleQueue[str] = context.SimpleQueue()
    answers, answering = context.Pipe(duplex=False)
    website_goes, phone_goes = context.Event(), context.Event()
    website = context.Process(target=produce, args=(orders, WEBSITE, website_goes), name="website")
    phone = context.Process(target=produce, args=(orders, PHONE, phone_goes), name="phone")
    alive = [
        context.Process(target=consume, args=(orders, receipts, answering), name=name)
        for name in CONSUMERS
    ]
    start(website, phone, *alive)
    for _ in alive:
        receipts.get()  # "ready"

    website_goes.set()
    website.join()  # not before it has handed its orders to the pipe
    if not phone_is_late:
        phone_goes.set()
        phone.join()
    for _ in range(marks):
        orders.put(END)
    while len(alive) > len(CONSUMERS) - marks:
        ended = wait([consumer.sentinel for consumer in alive])
        alive = [consumer for consumer in alive if consumer.sentinel not in ended]
    phone_goes.set()
    phone.join()

    for consumer in alive:
        stack = where(consumer, answers, at="orders.get()")
        say(f"{consumer.name}, pid {consumer.pid}, got no mark and hangs; it stands at")
        detail(stack[0])
        detail(stack[1])
        consumer.kill()
        consumer.join()
    paid = []
    while not receipts.empty():
        paid.append(receipts.get())
    lost = [orders.get(timeout=10) for _ in range(len(WEBSITE + PHONE) - len(paid))]
    say(f"6 orders sent, {len(paid)} paid, {len(lost)} lost{''.join(f', {each}' for each in lost)}")


def main() -> None:
    """Show the right way, and two wrong ones."""
    say("First: three end marks for three consumers, behind all orders")
    run_shop(3, phone_is_late=False)
    say("Then: two end marks for three consumers")
    run_shop(2, phone_is_late=False)
    say("Last: three end marks when the website has ended; the phone is slower")
    run_shop(3, phone_is_late=True)
    close(
        "With one mark each, behind the last order, all is paid and all processes end. With a mark "
        "too few one consumer hangs. Marks that overtake orders lose them.",
        "A mark ends the one consumer that takes it, and must be the last thing in the queue: with "
        "several producers, send it when all of them have ended.",
        "services/pipeline/local.py joins the queue, then shared/queue/local_queue.py sends each "
        "worker a mark of its own. An overtaken order would still be in the journal.",
    )


if __name__ == "__main__":
    play(main)
