"""A child's changes do not reach its parent: each has a memory of its own."""

from __future__ import annotations

import multiprocessing
import os
from typing import TYPE_CHECKING

from lessons.stage import close, play, say, start

if TYPE_CHECKING:
    from multiprocessing.connection import Connection
    from multiprocessing.sharedctypes import Synchronized

# A forked child begins as a copy of its parent, so the separation is easiest to see with fork.
context = multiprocessing.get_context("fork")

stock = {"tea": 10}


def sell(amount: int) -> None:
    """Sell tea, and change the stock: in this process's memory."""
    say(f"I find {stock['tea']} tea, at address {id(stock):#x}")
    stock["tea"] -= amount
    say(f"I sell {amount}; now there are {stock['tea']}, still at {id(stock):#x}")


def sell_and_tell(amount: int, told: Connection) -> None:
    """Sell tea, and send the news to the parent."""
    stock["tea"] -= amount
    told.send(("tea", amount))
    say(f"I sell {amount}, and send word of it")


def sell_from(shared: Synchronized[int], times: int) -> None:
    """Sell tea one by one out of memory that both processes see."""
    for _ in range(times):
        with shared.get_lock():  # reading and writing back are two steps
            shared.value -= 1
    say(f"I sold {times} out of the shared stock; {shared.value} are left as I see it")


def main() -> None:
    """Let children sell: in their memory, by message, in shared memory."""
    say(f"I am {os.getpid()}; {stock['tea']} tea in stock, at address {id(stock):#x}")
    child = context.Process(target=sell, args=(3,), name="child")
    start(child)
    child.join()
    say(f"the child has ended; here there are still {stock['tea']}, at {id(stock):#x}")

    say("So the child has to tell:")
    hears, told = context.Pipe(duplex=False)
    child = context.Process(target=sell_and_tell, args=(3, told), name="child")
    start(child)
    name, amount = hears.recv()
    child.join()
    stock[name] -= amount
    say(f"a message came, and I changed my own stock: {stock['tea']}")

    say("Or both use a piece of shared memory, with a lock:")
    shared = context.Value("i", 2000)
    sellers = [
        context.Process(target=sell_from, args=(shared, 500), name=f"seller-{number}")
        for number in (1, 2)
    ]
    start(*sellers)
    for seller in sellers:
        seller.join()
    say(f"2000 before, two sellers of 500 each: {shared.value} now")
    close(
        "The child sold tea, and the parent's stock stayed at 10, at the very same address. A "
        "message reached the parent, and a Value changed for both.",
        "An address means something only inside one process; behind equal numbers there is other "
        "memory. What others shall know has to be sent, or put where both look.",
        "services/worker/process.py shows its signs of life in a shared array; all else that must "
        "be known goes through the ledger, which outlives every process.",
    )


if __name__ == "__main__":
    play(main)
