"""Load for a server, as light as can be: its work is not what should be measured."""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, cast

import uvloop

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

HOST = "127.0.0.1"


@dataclass
class Load:
    """What a load came to.

    Attributes:
        codes: Answers by status code.
        latencies: Seconds from a request's first byte to its answer's last, ascending.
    """

    seconds: float = 0.0
    codes: Counter[int] = field(default_factory=Counter)
    latencies: list[float] = field(default_factory=list)

    def latency(self, share: float) -> float:
        """The latency that a share of the requests did not exceed."""
        return self.latencies[min(int(len(self.latencies) * share), len(self.latencies) - 1)]


def post_orders(port: int, orders: Sequence[bytes], connections: int) -> Load:
    """Post orders one by one, each connection the next one as soon as it has its answer."""
    return send_all(port, (_order(port, body) for body in orders), connections)


def send_all(port: int, requests: Iterable[bytes], connections: int) -> Load:
    """Send requests, each connection the next one as soon as it has its answer."""
    return uvloop.run(_send(port, iter(requests), connections))


def post_at_rate(port: int, orders: Sequence[bytes], rate: float) -> Load:
    """Post orders one by one, so many per second, whether answers come or not."""
    return uvloop.run(_pace(port, orders, rate))


def post_bulk(port: int, lines: Sequence[bytes]) -> Load:
    """Post orders as one stream of lines, and read the answers when all is sent."""
    return uvloop.run(_bulk(port, lines))


def post(port: int, path: str, body: bytes, *headers: str) -> bytes:
    """Make a request of a JSON body, and of headers if there are more."""
    head = [f"POST {path} HTTP/1.1", f"Host: {HOST}:{port}", "Content-Type: application/json"]
    head += [*headers, f"Content-Length: {len(body)}"]
    return "\r\n".join([*head, "\r\n"]).encode() + body


def _order(port: int, body: bytes) -> bytes:
    return post(port, "/orders", body)


class _Client(asyncio.Protocol):
    """One connection with one request at a time."""

    def __init__(self, load: Load) -> None:
        self._load = load
        self._buffer = b""
        self._answer: asyncio.Future[None] | None = None
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is no subclass

    async def send(self, request: bytes) -> None:
        """Send a request and wait for the answer."""
        assert self._transport is not None  # noqa: S101
        self._answer = asyncio.get_running_loop().create_future()
        started = time.perf_counter()
        self._transport.write(request)
        await self._answer
        self._load.latencies.append(time.perf_counter() - started)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, found, rest = self._buffer.partition(b"\r\n\r\n")
        if not found:
            return
        length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
        if len(rest) >= length and self._answer is not None:
            self._load.codes[int(head[9:12])] += 1
            self._buffer = rest[length:]
            self._answer.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(exc or ConnectionResetError())

    def close(self) -> None:
        """End the connection."""
        if self._transport is not None:
            self._transport.close()


async def _connect(port: int, load: Load) -> _Client:
    loop = asyncio.get_running_loop()
    _, client = await loop.create_connection(lambda: _Client(load), HOST, port)
    return client


async def _send(port: int, requests: Iterator[bytes], connections: int) -> Load:
    load = Load()
    clients = [await _connect(port, load) for _ in range(connections)]

    async def work(client: _Client) -> None:
        for request in requests:
            await client.send(request)

    started = time.perf_counter()
    await asyncio.gather(*map(work, clients))
    load.seconds = time.perf_counter() - started
    return _finish(load, clients)


async def _pace(port: int, orders: Sequence[bytes], rate: float) -> Load:
    load = Load()
    clients = [await _connect(port, load) for _ in range(32)]
    idle: asyncio.Queue[_Client] = asyncio.Queue()
    for client in clients:
        idle.put_nowait(client)
    posts: list[asyncio.Task[None]] = []

    async def work(client: _Client, body: bytes) -> None:
        await client.send(_order(port, body))
        idle.put_nowait(client)

    started = time.perf_counter()
    for number, body in enumerate(orders):
        await asyncio.sleep(max(0.0, started + number / rate - time.perf_counter()))
        posts.append(asyncio.create_task(work(await idle.get(), body)))
    await asyncio.gather(*posts)
    load.seconds = time.perf_counter() - started
    return _finish(load, clients)


def _finish(load: Load, clients: list[_Client]) -> Load:
    for client in clients:
        client.close()
    load.latencies.sort()
    return load


async def _bulk(port: int, lines: Sequence[bytes]) -> Load:
    load = Load()
    reader, writer = await asyncio.open_connection(HOST, port)
    length = sum(map(len, lines)) + len(lines)
    started = time.perf_counter()
    writer.write(
        b"POST /orders/bulk HTTP/1.1\r\nHost: %s:%d\r\nContent-Type: application/x-ndjson\r\n"
        b"Content-Length: %d\r\nConnection: close\r\n\r\n" % (HOST.encode(), port, length)
    )
    for start in range(0, len(lines), 200):
        writer.write(b"\n".join(lines[start : start + 200]) + b"\n")
        await writer.drain()
    head, _, answers = (await reader.read()).partition(b"\r\n\r\n")
    load.seconds = time.perf_counter() - started
    writer.close()
    if not head.startswith(b"HTTP/1.1 200"):
        raise SystemExit(f"bulk was refused: {head!r}")
    for line in b"".join(_chunks(answers)).splitlines():
        load.codes[json.loads(line)["code"]] += 1
    return load


def _chunks(body: bytes) -> Iterator[bytes]:
    """Take a body with chunked transfer encoding apart."""
    while body:
        size, _, rest = body.partition(b"\r\n")
        yield rest[: int(size, 16)]
        body = rest[int(size, 16) + 2 :]
