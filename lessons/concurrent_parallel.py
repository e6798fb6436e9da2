"""In turns on one CPU, or at the same instant on several."""

from __future__ import annotations

import multiprocessing
import os
import threading
import time
from typing import TYPE_CHECKING, NamedTuple

from lessons.stage import close, detail, leave_with_parent, play, say, start

if TYPE_CHECKING:
    from collections.abc import Callable
    from multiprocessing.connection import Connection
    from multiprocessing.synchronize import Event

context = multiprocessing.get_context("spawn")

ORDERS = ["A-1", "A-2", "A-3"]
STEPS = 4


class Report(NamedTuple):
    """What a job tells: its order, when it began and ended, and its own time on a CPU."""

    order: str
    began: float
    ended: float
    cpu: float


def price(order: str) -> Report:
    """Work out a price: nothing but computing, in four steps."""
    began, cpu = time.monotonic(), time.thread_time()
    for step in range(1, STEPS + 1):
        sum(number * number for number in range(300_000))
        say(f"{order} step {step}")
    return Report(order, began, time.monotonic(), time.thread_time() - cpu)


def in_turn() -> list[Report]:
    """One job after another."""
    return [price(order) for order in ORDERS]


def in_threads() -> list[Report]:
    """A thread for each job: in this Python, they take turns."""
    reports: list[Report] = []
    threads = [
        threading.Thread(target=lambda order=order: reports.append(price(order)))
        for order in ORDERS
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return reports


def work(order: str, go: Event, told: Connection) -> None:
    """Be a process with one job."""
    leave_with_parent()
    told.send(None)
    go.wait()
    told.send(price(order))


def in_processes() -> list[Report]:
    """A process for each job."""
    go = context.Event()
    reports = []
    for order in ORDERS:
        hears, told = context.Pipe(duplex=False)
        start(context.Process(target=work, args=(order, go, told), name=f"pricer {order}"))
        hears.recv()  # it is there; the start is no part of the race
        reports.append(hears)
    go.set()
    return [report.recv() for report in reports]


def measure(title: str, way: Callable[[], list[Report]]) -> None:
    """Say how long it took, and how many CPUs were at work on average."""
    say(title)
    reports = way()
    took = max(each.ended for each in reports) - min(each.began for each in reports)
    cpu = sum(each.cpu for each in reports)
    longest_lead = max(each.began for each in reports)
    overlap = "overlapped" if longest_lead < min(each.ended for each in reports) else "took turns"
    detail(
        f"{took:.2f} s, {cpu:.2f} s of computing, {cpu / took:.1f} CPUs busy; the jobs {overlap}"
    )


def main() -> None:
    """Do the same three jobs in three ways."""
    say(f"this machine has {os.cpu_count()} CPUs; process {os.getpid()} works out three prices")
    measure("1. one after another", in_turn)
    measure("2. concurrently: three threads", in_threads)
    measure("3. in parallel, as far as there are CPUs: three processes", in_processes)
    close(
        "One after another, each job waited for the one before. The threads' steps came mixed, and "
        "yet it took as long; the processes kept more than one CPU busy, if there was one.",
        "Concurrent: several jobs are under way. Parallel: several are being computed at the same "
        "instant. Usually only one thread of a process runs Python code at a time.",
        "services/pipeline/supervisor.py runs several worker processes to compute in parallel; "
        "the threads of services/pipeline/local.py are for waiting, where taking turns costs "
        "nothing.",
    )


if __name__ == "__main__":
    play(main)
