"""Wait for each answer, or go on and hear the answers later."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from lessons.stage import close, play, say, work_for

if TYPE_CHECKING:
    from concurrent.futures import Future

ORDERS = ["A-1 of ada", "A-2 of ben", "A-3 of cho"]


def ask_bank(order: str) -> str:
    """Ask the bank for the money; the bank is far away, and takes a while to answer."""
    work_for(0.3)  # the bank's work: the wait that this lesson is about
    return f"{order} is paid"


def pack_a_parcel(order: str) -> None:
    """Do something useful of one's own."""
    work_for(0.1)  # our own work meanwhile
    say(f"  packed {order}")


def synchronous() -> None:
    """Ask, wait for the answer, go on."""
    for order in ORDERS:
        say(f"asking for {order} ...")
        say(f"  answer: {ask_bank(order)}")
    for order in ORDERS:
        pack_a_parcel(order)


def asynchronous() -> None:
    """Ask, get a ticket, go on, and hear the answer when it comes."""

    def hear(ticket: Future[str]) -> None:
        say(f"  answer: {ticket.result()}")

    with ThreadPoolExecutor() as messengers:
        for order in ORDERS:
            say(f"asking for {order} ...")
            ticket = messengers.submit(ask_bank, order)
            say(f"  got a ticket, no answer yet; done() is {ticket.done()}")
            ticket.add_done_callback(hear)
        for order in ORDERS:
            pack_a_parcel(order)
    # Here the block has ended, and with it the last call: a ticket is no reason to forget it.


def main() -> None:
    """Do the same calls both ways, and time them."""
    say("Synchronous: three calls of 0.3 s, and three parcels of 0.1 s")
    began = time.perf_counter()
    synchronous()
    one_by_one = time.perf_counter() - began
    say("Asynchronous: the same calls, the same parcels")
    began = time.perf_counter()
    asynchronous()
    say(f"synchronous {one_by_one:.2f} s, asynchronous {time.perf_counter() - began:.2f} s")
    close(
        "The same answers came. The synchronous caller stood still for each; the asynchronous one "
        "got tickets at once, packed, and heard the answers when they came.",
        "Synchronous or not is about when a caller gets its answer: with the return, or later. It "
        "says nothing about who does the work, nor on how many CPUs.",
        "services/producer/intake.py is asynchronous: an order is accepted when it is journalled, "
        "and paid later. services/payment/settle.py calls its gateway synchronously.",
    )


if __name__ == "__main__":
    play(main)
