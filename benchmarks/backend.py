"""A payment backend to measure against: a process of its own that takes its time and pays all.

It answers after a fixed latency, honours no keys, and counts what a caller does to it. It does as
little as it can: whatever it costs is missing to the caller, who shares its cores.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import subprocess
import sys
import time
import urllib.request
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from operator import itemgetter
from typing import TYPE_CHECKING, NamedTuple, cast

import httptools
import uvloop

from benchmarks.measure import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator

HOST = "127.0.0.1"
LATENCY = 0.1
_fields = itemgetter("account", "amount", "currency", "reference")
_MOST_CONNECTIONS = 4096


@dataclass
class Counts:
    """What a backend has seen.

    Attributes:
        calls: Charges that it was asked for.
        overlaps: Those of an account that had one out already.
        repeats: Those with a key that had been asked before.
        out: Those that have no answer yet.
        most_out: The most that were out at once.
        cpu_seconds: User and system time of its process, from its start.
    """

    calls: int = 0
    overlaps: int = 0
    repeats: int = 0
    out: int = 0
    most_out: int = 0
    cpu_seconds: float = 0.0


class Running(NamedTuple):
    """A backend that runs."""

    port: int

    @property
    def url(self) -> str:
        """Where it is asked."""
        return f"http://{HOST}:{self.port}"

    def counts(self) -> Counts:
        """Ask what it has seen so far."""
        with urllib.request.urlopen(f"{self.url}/counts") as answer:
            return Counts(**json.load(answer))


@contextmanager
def running(latency: float = LATENCY) -> Iterator[Running]:
    """Run a backend in a process of its own, on any port, while the block lasts."""
    command = [sys.executable, "-m", "benchmarks.backend", "--latency", str(latency)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None  # noqa: S101
        try:
            yield Running(int(process.stdout.readline().rpartition(":")[2]))
        finally:
            process.terminate()
            process.stdout.read()


class _Till:
    """The charges of all connections."""

    def __init__(self, latency: float) -> None:
        self.counts = Counts()
        self.latency = latency
        self._out: dict[str, int] = {}
        self._keys: set[str] = set()

    def begin(self, account: str, key: str) -> int:
        """Count a charge that has come; return its number."""
        counts = self.counts
        counts.calls += 1
        counts.out += 1
        counts.most_out = max(counts.most_out, counts.out)
        out = self._out.get(account, 0)
        counts.overlaps += out > 0
        self._out[account] = out + 1
        counts.repeats += key in self._keys
        if key:
            self._keys.add(key)
        return counts.calls

    def end(self, account: str) -> None:
        """Count a charge that is answered."""
        self.counts.out -= 1
        self._out[account] -= 1

    def read(self) -> bytes:
        """Show the counts as JSON."""
        self.counts.cpu_seconds = time.process_time()
        return json.dumps(asdict(self.counts)).encode()


class _Connection(asyncio.Protocol):
    """One caller's connection.

    All answers are equally late, and timers of one moment go off in the order in which they were
    set: so they leave in the order of their requests, also where those did not wait.
    """

    def __init__(self, till: _Till) -> None:
        self._till = till
        self._parser = httptools.HttpRequestParser(self)
        self._later = asyncio.get_running_loop().call_later
        self._transport: asyncio.Transport | None = None
        self._url = b""
        self._key = ""
        self._body = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is no subclass

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._refuse(400, f"this is no HTTP: {error}")

    def on_message_begin(self) -> None:
        """Begin a request; called by the parser, as all that follow."""
        self._url, self._key, self._body = b"", "", b""

    def on_url(self, url: bytes) -> None:
        """Add to the path."""
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take the key, and no other header."""
        if len(name) == len(b"idempotency-key") and name.lower() == b"idempotency-key":
            self._key = value.decode("latin-1")

    def on_body(self, body: bytes) -> None:
        """Add to the body."""
        self._body += body

    def on_message_complete(self) -> None:
        """Answer, or have the answer come later."""
        asked = self._parser.get_method(), self._url
        if asked == (b"POST", b"/charges"):
            self._charge()
        elif asked == (b"GET", b"/counts"):
            self._answer(200, self._till.read())
        else:
            self._refuse(404, "there are POST /charges and GET /counts")

    def _charge(self) -> None:
        try:
            account, _, _, _ = _fields(json.loads(self._body))
        except (ValueError, TypeError, KeyError):
            self._refuse(400, "a charge is an object: account, amount, currency and reference")
            return
        number = self._till.begin(account, self._key)
        # The request's fields are handed back as they came: to encode them again costs a fifth.
        head = f'{{"id":"{number}","key":{json.dumps(self._key)},"status":"paid","reason":null,'
        answer = head.encode() + self._body.lstrip()[1:]
        self._later(self._till.latency, self._pay, account, answer)

    def _pay(self, account: str, answer: bytes) -> None:
        self._till.end(account)
        self._answer(200, answer)

    def _refuse(self, status: int, why: str) -> None:
        self._answer(status, json.dumps({"error": why}).encode())
        if self._transport is not None:
            self._transport.close()

    def _answer(self, status: int, body: bytes) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(
                b"HTTP/1.1 %d \r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b"
                % (status, len(body), body)
            )


async def serve(port: int, latency: float) -> Counts:
    """Serve until a signal comes; print the address first, and return the counts."""
    till = _Till(latency)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(
        lambda: _Connection(till), HOST, port, backlog=_MOST_CONNECTIONS
    )
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    print(f"listening on http://{HOST}:{server.sockets[0].getsockname()[1]}", flush=True)
    await stop.wait()
    till.read()
    return till.counts


def main() -> None:
    """Serve until a signal comes, then print the counts."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.backend", description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="0, the default, is any")
    parser.add_argument("--latency", type=float, default=LATENCY, help="seconds; 0.1 if not given")
    options = parser.parse_args()
    try:
        counts = uvloop.run(serve(options.port, options.latency))
    except OSError as error:
        sys.exit(f"backend: cannot listen on port {options.port}: {error}; try --port 0")
    print(json.dumps(asdict(counts)))


if __name__ == "__main__":
    main()
