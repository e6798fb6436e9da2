"""A Process with a target, and a subclass with run(); join them all."""

from __future__ import annotations

import multiprocessing
import time

from lessons.stage import close, play, say, start, work_for

context = multiprocessing.get_context("spawn")

ORDERS = {"A-1 of ada": 1250, "A-2 of ben": 700, "A-3 of cho": 4300}  # prices in cents


def pay(order: str, cents: int) -> None:
    """Take the money for an order: a function is all that the first way needs."""
    say(f"charging {order} ...")
    work_for(0.2)  # the bank takes its time
    say(f"charged {order}: {cents / 100:.2f} EUR")


class Payment(context.Process):  # type: ignore[name-defined, misc]  # made at run time
    """The second way: a process that knows its order. What run() does, the child does."""

    def __init__(self, order: str, cents: int) -> None:
        super().__init__(name="payment")
        self.order = order
        self.cents = cents

    def run(self) -> None:
        """Pay; called by start(), in the child."""
        pay(self.order, self.cents)


def main() -> None:
    """Pay three orders each way, then call run() by mistake."""
    say("First way: Process(target=pay, args=...)")
    began = time.perf_counter()
    first = [context.Process(target=pay, args=order, name="target") for order in ORDERS.items()]
    start(*first)
    for process in first:
        process.join()
    say(f"all three joined after {time.perf_counter() - began:.2f} s; each slept 0.2 s")

    say("Second way: a subclass with run()")
    second = [Payment(order, cents) for order, cents in ORDERS.items()]
    start(*second)
    for process in second:
        process.join()
    say("all three joined")

    say("A slip: start one and join it at once, then the next")
    began = time.perf_counter()
    for order in ORDERS.items():
        process = context.Process(target=pay, args=order, name="in turn")
        start(process)
        process.join()
    say(f"that took {time.perf_counter() - began:.2f} s: they came one after another")

    say("Another slip: run() in place of start(). Look at the pid")
    Payment("A-4 of dan", 999).run()
    close(
        "Both ways paid the same orders in processes of their own. Joined in the loop that starts "
        "them they took turns; and run() itself paid in this very process.",
        "start() makes the process, which then calls run(); run() calls the target unless you "
        "override it. join() waits: start all first, then join all.",
        "services/pipeline/local.py starts each worker as Process(target=worker.main): a function "
        "is easier to test than a subclass; services/pipeline/supervisor.py joins them.",
    )


if __name__ == "__main__":
    play(main)
