"""A process per client: a slow one holds nobody up; then with a limit."""

from __future__ import annotations

import argparse
import multiprocessing
import os
import socket
import sys
import time
from multiprocessing.connection import wait
from typing import TYPE_CHECKING

from lessons.stage import close, leave_with_parent, play, say, start

if TYPE_CHECKING:
    from multiprocessing.context import SpawnProcess
    from multiprocessing.synchronize import Event, Semaphore

context = multiprocessing.get_context("spawn")

PRICES = {"tea": 350, "coffee": 420, "cake": 280}  # in cents
CLIENTS = ("ada", "ben", "cho")


def serve(connection: socket.socket) -> None:
    """Be the server's process for one client: an order a line, an answer a line."""
    leave_with_parent()
    with connection, connection.makefile("rw") as lines:
        for line in lines:
            name, what, amount = line.split()
            say(f"{name} wants {amount} {what}")
            lines.write(f"{PRICES[what] * int(amount) / 100:.2f} EUR, by {os.getpid()}\n")
            lines.flush()


def order(name: str, port: int, slow_is_in: Event, answered: Semaphore) -> None:
    """Be a client that sends two orders, one after the other's answer."""
    leave_with_parent()
    slow_is_in.wait(30)
    with socket.create_connection(("127.0.0.1", port)) as connection:
        lines = connection.makefile("rw")
        began = time.perf_counter()
        for what in ("tea", "cake"):
            lines.write(f"{name} {what} 2\n")
            lines.flush()
            answer = lines.readline().strip()
            say(f"answer after {time.perf_counter() - began:.2f} s: {answer}")
    answered.release()


def order_slowly(port: int, slow_is_in: Event, answered: Semaphore) -> None:
    """Be a client that stops in the middle of a line, until all others have got their answers."""
    leave_with_parent()
    with socket.create_connection(("127.0.0.1", port)) as connection:
        lines = connection.makefile("rw")
        lines.write("slow coff")
        lines.flush()
        slow_is_in.set()
        for _ in CLIENTS:
            answered.acquire(timeout=30)
        lines.write("ee 1\n")
        lines.flush()
        say(f"answer, last of all: {lines.readline().strip()}")


def open_shop(server: socket.socket, limit: int) -> None:
    """Serve four clients, each in a process of its own, and no more than ``limit`` at a time."""
    port = server.getsockname()[1]
    slow_is_in, answered = context.Event(), context.Semaphore(0)
    clients = [
        context.Process(target=order, args=(name, port, slow_is_in, answered), name=name)
        for name in CLIENTS
    ]
    clients.append(
        context.Process(target=order_slowly, args=(port, slow_is_in, answered), name="slow")
    )
    start(*clients)
    busy: dict[int, SpawnProcess] = {}
    most = 0
    for number, _ in enumerate(clients, 1):
        while len(busy) >= limit:
            say(f"{limit} are being served; whoever comes now waits in the system's queue")
            reap(busy, timeout=None)
        connection, _address = server.accept()
        process = context.Process(target=serve, args=(connection,), name=f"server-{number}")
        start(process)
        connection.close()  # the child has its own; the client must see its end when that ends
        busy[process.sentinel] = process
        reap(busy, timeout=0)  # a server that never reaps collects a zombie per client
        most = max(most, len(busy))
    while busy:
        reap(busy, timeout=None)
    for client in clients:
        client.join()
    say(f"4 clients served, {most} at the same time at most")


def reap(busy: dict[int, SpawnProcess], timeout: float | None) -> None:
    """Join the processes whose clients have gone."""
    for sentinel in wait(list(busy), timeout):
        if isinstance(sentinel, int):
            busy.pop(sentinel).join()


def main() -> None:
    """Open a shop on a port, first without a limit, then with one."""
    options = argparse.ArgumentParser(prog="tcp-server", description=__doc__)
    options.add_argument("--port", type=int, default=9696, help="9696 if not given; 0: any")
    port = options.parse_args().port
    with socket.socket() as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            server.bind(("127.0.0.1", port))
        except (OSError, OverflowError) as error:
            print(f"tcp-server: cannot use port {port}: {error}; try --port 0", file=sys.stderr)
            sys.exit(2)
        server.listen()
        say(f"listening on 127.0.0.1:{server.getsockname()[1]}, this machine only")
        say("First: a process for every client")
        open_shop(server, limit=len(CLIENTS) + 1)
        say("Then: no more than two clients at a time")
        open_shop(server, limit=2)
    close(
        "One client stopped in mid-line, and the others got their answers all the same. With a "
        "limit of two, the slow one held one place and the others took turns in the second.",
        "Each client has a process that waits for it alone. A process is dear, so there must be a "
        "limit; whom the server has not accepted yet, the system keeps waiting.",
        "services/producer/batcher.py has a limit at its entrance, too: MAX_PENDING. "
        "services/pipeline/supervisor.py keeps a few workers for good, in place of one per order.",
    )


if __name__ == "__main__":
    play(main, takes_arguments=True)
