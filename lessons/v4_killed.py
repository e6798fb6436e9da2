"""A consumer is SIGKILLed in get(): the others are deadlocked; and the remedy."""

from __future__ import annotations

import multiprocessing
import os
import signal
from multiprocessing.connection import wait
from typing import TYPE_CHECKING

from lessons.stage import close, detail, leave_with_parent, play, say, start, work_for
from lessons.watching import answer_where, where

if TYPE_CHECKING:
    from multiprocessing.connection import Connection
    from multiprocessing.context import SpawnProcess
    from multiprocessing.queues import JoinableQueue

context = multiprocessing.get_context("spawn")

ORDERS = ["A-1 of ada", "B-1 of ben", "C-1 of cho", "A-2 of ada", "B-2 of ben", "C-2 of cho"]


def consume(orders: JoinableQueue[str], receipts: Connection, answers: Connection) -> None:
    """Pay orders, and send a receipt for each."""
    leave_with_parent()
    answer_where(answers)
    receipts.send("ready")
    while True:
        order = orders.get()
        work_for(0.05)  # the bank takes its time
        say(f"paid {order}")
        receipts.send(order)
        orders.task_done()


class Worker:
    """A consumer process, the queue it reads, and the pipes on which it reports."""

    def __init__(self, name: str, orders: JoinableQueue[str]) -> None:
        self.orders = orders
        self.receipts, receipts = context.Pipe(duplex=False)
        self.answers, answers = context.Pipe(duplex=False)
        self.process: SpawnProcess = context.Process(
            target=consume, args=(orders, receipts, answers), name=name
        )
        start(self.process)
        receipts.close()  # now only the consumer has it: if it dies, reading ends
        self.receipts.recv()  # "ready"

    def stack(self) -> list[str]:
        """Tell where the consumer stands in get()."""
        return where(self.process, self.answers, at="orders.get()")

    def kill(self) -> None:
        """Kill it with the signal that nobody can catch."""
        os.kill(self.process.pid or 0, signal.SIGKILL)
        self.process.join()


def share_one_queue() -> None:
    """Let three consumers share a queue, and kill the one that waits in read()."""
    orders: JoinableQueue[str] = context.JoinableQueue()
    workers = [Worker(name, orders) for name in ("consumer-1", "consumer-2", "consumer-3")]
    readers: list[Worker] = []
    while not readers:  # whoever comes first gets the lock
        readers = [each for each in workers if "read(" in each.stack()[-1]]
    victim = readers[0]
    say(f"{victim.process.name}, pid {victim.process.pid}, is idle in get(): kill -9")
    stack = victim.stack()
    detail(stack[1])
    detail(stack[-1])
    victim.kill()
    for order in ORDERS:
        orders.put(order)
    others = [each for each in workers if each is not victim]
    heard = wait([each.receipts for each in others], timeout=1)
    say(f"{len(ORDERS)} orders put; after a second {len(heard)} receipts came")
    for each in others:
        say(f"{each.process.name}, pid {each.process.pid}, is alive and stands at")
        detail(each.stack()[1])
        each.kill()
    orders.cancel_join_thread()


def one_queue_each() -> None:
    """Give each consumer a queue of its own, kill one, and replace it with its queue."""
    workers = {name: Worker(name, context.JoinableQueue()) for name in ("A", "B", "C")}
    journal = dict.fromkeys(ORDERS, "open")  # what was accepted is written down before it is sent
    victim = workers["B"]
    victim.stack()  # it is idle in get(), as the other one was
    say(f"B, pid {victim.process.pid}, is idle in get(): kill -9")
    victim.kill()
    for order in journal:
        workers[order[0]].orders.put(order)  # a customer's orders all go to one consumer
    while "open" in journal.values():
        for name, worker in list(workers.items()):
            if not worker.process.is_alive():
                worker.orders.cancel_join_thread()  # throw it away with all that is in it
                workers[name] = Worker(name, context.JoinableQueue())
                say(f"{name} is dead; a new process, {workers[name].process.pid}, a new queue")
                for order, state in journal.items():
                    if order[0] == name and state == "open":
                        workers[name].orders.put(order)
        wait([worker.receipts for worker in workers.values()])
        for worker in workers.values():
            while worker.receipts.poll():
                journal[worker.receipts.recv()] = "paid"
    for worker in workers.values():
        worker.kill()
    paid = sum(state == "paid" for state in journal.values())
    say(f"{len(journal)} orders in the journal, {paid} paid")


def main() -> None:
    """Show the deadlock, then the way around it."""
    say("First: three consumers share one queue")
    share_one_queue()
    say("Then: a queue for each consumer, and the orders in a journal")
    one_queue_each()
    close(
        "One idle consumer was killed, and two healthy ones never got another order. With a queue "
        "each, the same kill cost nothing: the dead one's orders came again from the journal.",
        "A consumer waits in get() with the queue's reading lock in its hands. SIGKILL lets nobody "
        "put a lock back, so the others wait for a dead process.",
        "shared/queue/local_queue.py has a queue per worker; services/pipeline/supervisor.py sees "
        "a death and replaces both; services/pipeline/recovery.py nudges for what the journal "
        "still has open.",
    )


if __name__ == "__main__":
    play(main)
