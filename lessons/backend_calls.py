"""Call a slow bank: one by one, in threads, in a loop; and nobody overtakes."""

from __future__ import annotations

import asyncio
import multiprocessing
import threading
import time
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

from lessons.stage import close, detail, leave_with_parent, play, say, start, work_for

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from multiprocessing.connection import Connection

context = multiprocessing.get_context("spawn")

CUSTOMERS = ("ada", "ben", "cho", "dan", "eve", "fay")
# Totals in cents. Everybody has 100.00: ada has enough for either of hers, and not for both.
ORDERS = {f"{name}-{number}": 7_00 for number in (1, 2) for name in CUSTOMERS}
ORDERS |= {"ada-1": 80_00, "ada-2": 30_00}


def bank(told: Connection, large: float) -> None:
    """Be a bank, with a thread for each call: it takes 0.1 s, for a large total ``large``."""
    leave_with_parent()
    balances, lock = dict.fromkeys(CUSTOMERS, 100_00), threading.Lock()

    class Clerk(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            order, total = self.rfile.read(int(self.headers["Content-Length"])).decode().split()
            work_for(large if int(total) > 50_00 else 0.1)  # the bank's work
            with lock:
                is_paid = int(total) <= balances[order[:3]]
                balances[order[:3]] -= int(total) if is_paid else 0
            with suppress(ConnectionError):  # a caller that was interrupted has gone
                self.send_response_only(200)
                self.end_headers()
                self.wfile.write(b"paid" if is_paid else b"declined")

    ThreadingHTTPServer.request_queue_size = len(ORDERS)  # all may knock at the same moment
    server = ThreadingHTTPServer(("127.0.0.1", 0), Clerk)
    say(f"open on 127.0.0.1:{server.server_port}")
    told.send(server.server_port)
    server.serve_forever()


class Shop:
    """Has orders charged at the bank; knows which calls are out, and which answers came."""

    def __init__(self, port: int) -> None:
        self.port, self.most_out = port, 0
        self.out: list[str] = []
        self.answers: list[str] = []

    def charge(self, order: str) -> None:
        """Ask and wait: this thread does nothing else meanwhile."""
        began = self.begin(order)
        connection = HTTPConnection("127.0.0.1", self.port)
        connection.request("POST", "/charges", f"{order} {ORDERS[order]}")
        self.end(order, connection.getresponse().read(), began)

    async def charge_in_loop(self, order: str) -> None:
        """Ask, and let the loop do something else until the answer is there."""
        began, body = self.begin(order), f"{order} {ORDERS[order]}"
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        head = f"POST /charges HTTP/1.0\r\nContent-Length: {len(body)}\r\n\r\n"
        writer.write(f"{head}{body}".encode())
        self.end(order, (await reader.read()).partition(b"\r\n\r\n")[2], began)
        writer.close()

    def begin(self, order: str) -> float:
        self.out.append(order)
        self.most_out = max(self.most_out, len(self.out))
        return time.perf_counter()

    def end(self, order: str, answer: bytes, began: float) -> None:
        self.out.remove(order)
        self.answers.append(f"{order} {answer.decode()}")
        say(f"{self.answers[-1]} after {time.perf_counter() - began:.2f} s")


def one_by_one(shop: Shop) -> None:
    """Ask for an order when the one before has its answer."""
    for order in ORDERS:
        shop.charge(order)


def in_threads(shop: Shop) -> None:
    """Let four threads ask, each for whatever comes next."""
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(shop.charge, ORDERS))


def in_a_loop(way: Callable[[Shop], Coroutine[Any, Any, None]], shop: Shop) -> None:
    """Run an event loop in one thread: not in the main one, which a Ctrl-C may stop anywhere."""
    with ThreadPoolExecutor(1) as pool:
        pool.submit(lambda: asyncio.run(way(shop))).result()


async def at_once(shop: Shop) -> None:
    """Ask for all of them, and then wait."""
    await asyncio.gather(*map(shop.charge_in_loop, ORDERS))


async def in_turn(shop: Shop) -> None:
    """Ask for all customers at once, and for each customer's orders one by one."""
    turns: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def charge(order: str) -> None:
        async with turns[order[:3]]:  # whoever waits longest for such a lock has it next
            await shop.charge_in_loop(order)

    await asyncio.gather(*map(charge, ORDERS))


def measure(title: str, way: Callable[[Shop], None], large: float = 0.1) -> None:
    """Pay all orders at a bank that has just opened; say how fast, and what ada heard."""
    say(title)
    hears, told = context.Pipe(duplex=False)
    start(process := context.Process(target=bank, args=(told, large), name="bank"))
    shop = Shop(hears.recv())
    began = time.perf_counter()
    way(shop)
    took = time.perf_counter() - began
    process.kill()
    process.join()
    each = took / len(ORDERS) * 1000
    detail(f"{took:.2f} s, {each:.0f} ms an order; calls out at once: {shop.most_out}")
    detail(f"ada heard: {', then '.join(each for each in shop.answers if each[:3] == 'ada')}")


def main() -> None:
    """First how fast, then in whose order."""
    say("12 orders of 6 customers, who have 100.00 EUR each; the bank takes 0.1 s a call")
    measure("1. one call after another", one_by_one)
    measure("2. four threads", in_threads)
    measure("3. an event loop, all at once", partial(in_a_loop, at_once))
    say("Now a large total takes it 0.8 s: ada-1 is 80.00 EUR, ada-2 is 30.00")
    measure("4. four threads again", in_threads, large=0.8)
    measure("5. an event loop, each customer in turn", partial(in_a_loop, in_turn), large=0.8)
    close(
        "One by one, twelve calls took twelve times 0.1 s; four at once a quarter of that, all at "
        "once hardly more than one, and which of ada's orders came first was luck. With a larger "
        "first one there was no luck: her second took the money. In turn she heard what she hears "
        "one by one, and nobody waited for her.",
        "A call that is out is waiting, and there is room for many such, in threads or in a loop. "
        "But calls that are out together have no order. Who needs one makes the next call after "
        "the answer: all takes as long as one customer's calls, and no longer.",
        "services/payment/charging/desk.py decides who is called next: one call a customer, and as "
        "many customers at once as GATEWAY_CONCURRENCY allows. "
        "services/payment/charging/calls.py runs coroutines on a loop, plain functions in threads.",
    )


if __name__ == "__main__":
    play(main)
