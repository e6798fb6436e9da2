"""`orderly serve` as tests use it: a real process, real HTTP, and what it logged."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import httpx

from tests.support.eventually import eventually
from tests.support.orderly import Orderly, Result, workers_of

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterable, Iterator
    from pathlib import Path

MIB = 1024 * 1024
NDJSON = {"content-type": "application/x-ndjson"}
TOKEN = "s3cret-token"  # noqa: S105  the tests' own
BEARER = {"authorization": f"Bearer {TOKEN}"}


class Server:
    """One service; it can be started again, on the same port too.

    Attributes:
        orderly: The command of the same ledger; its environment is the service's.
        port: Where it listens, or did.
        url: The same, as a URL.
        said: Every line of its standard error, of all its starts.
        client: Calls it.
    """

    command = "serve"
    announces = re.compile(r"^orderly: serving on (http://\S+:(\d+)) ")

    def __init__(self, orderly: Orderly) -> None:
        self.orderly = orderly
        self.port = 0
        self.url = ""
        self.said: list[str] = []
        self.client = httpx.Client(trust_env=False)
        self._process: subprocess.Popen[str] | None = None
        self._reader: threading.Thread | None = None

    def start(self, *arguments: str, port: int = 0, **options: Any) -> Server:
        """Start it, and wait until it says that it serves."""
        seen = len(self.said)
        self.launch(*arguments, port=port, **options)
        started = eventually(lambda: self._announced(seen), what="serving", within=40)
        assert started is not None
        self.url, self.port = started[1], int(started[2])
        self.client.close()
        self.client = httpx.Client(base_url=self.url, timeout=30, trust_env=False)
        return self

    def launch(self, *arguments: str, port: int = 0, **options: Any) -> None:
        """Start it, and wait for nothing."""
        assert self._process is None or self._process.poll() is not None, "it runs already"
        self.finish_reading()
        self._process = self.orderly.start(self.command, "--port", str(port), *arguments, **options)
        self._reader = threading.Thread(target=self._read, args=(self._process,), daemon=True)
        self._reader.start()

    @property
    def process(self) -> subprocess.Popen[str]:
        """The service's process, the latest one."""
        assert self._process is not None, "it was never started"
        return self._process

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def workers(self) -> list[int]:
        """The payment workers' process ids."""
        return workers_of(self.pid)

    @property
    def ledger(self) -> Path:
        return self.orderly.ledger

    @property
    def logs(self) -> list[dict[str, Any]]:
        """What it logged, parsed; not what it told its operator in plain lines."""
        return [json.loads(line) for line in list(self.said) if line.startswith("{")]

    def logged(self, **fields: Any) -> list[dict[str, Any]]:
        """The log's entries that have these fields."""
        return [entry for entry in self.logs if fields.items() <= entry.items()]

    def send(self, number: int) -> None:
        """Send it a signal, and not wait."""
        self.send_to(self.pid, number)

    @staticmethod
    def send_to(pid: int, number: int) -> None:
        """Send a signal to one of its processes."""
        os.kill(pid, number)

    def wait(self, *, within: float = 40) -> Result:
        """Wait for its end; say how it ended, with everything that it has said."""
        code = self.process.wait(timeout=within)
        self.finish_reading()
        return Result(code, "", "".join(self.said))

    def stop(self, number: int = signal.SIGTERM, *, within: float = 40) -> Result:
        """Send it a signal, and wait for its end."""
        self.send(number)
        return self.wait(within=within)

    def close(self) -> None:
        """End what is left of it."""
        self.client.close()
        if self._process is not None and self._process.poll() is None:
            os.killpg(self.pid, signal.SIGKILL)
            self.process.wait()
        self.finish_reading()

    def finish_reading(self) -> None:
        """Take in the last of what it said; its pipe ends with the last of its processes."""
        if self._reader is not None:
            self._reader.join(timeout=10)
            assert not self._reader.is_alive(), "its standard error is still open"

    def place(self, order: Any, **headers: str) -> httpx.Response:
        """Place an order, given as its fields or as the body's bytes."""
        body = order if isinstance(order, bytes) else json.dumps(order).encode()
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.client.post(
            "/orders", content=body, headers={"content-type": "application/json"} | named
        )

    def bulk(self, body: bytes | Iterable[bytes]) -> list[dict[str, Any]]:
        """Place a body of lines; return the answers."""
        response = self.client.post("/orders/bulk", content=body, headers=NDJSON)
        assert response.status_code == 200, response.text
        assert response.headers["content-type"] == "application/x-ndjson"
        return answers(response.content)

    def status(self, order_id: str) -> str:
        """What has become of an order."""
        return str(self.client.get(f"/orders/{order_id}").json()["status"])

    def settle(self, *, within: float = 30) -> dict[str, Any]:
        """Wait until nothing is open; return the whole status."""

        def settled() -> dict[str, Any] | None:
            found: dict[str, Any] = self.client.get("/status").json()
            return None if found["open"] else found

        return eventually(settled, what="nothing is open", within=within) or {}

    def query(self, statement: str, *parameters: Any) -> list[Any]:
        """Ask the ledger's database, beside the service."""
        return self.orderly.query(statement, *parameters)

    @contextmanager
    def connected(self) -> Iterator[socket.socket]:
        """A bare connection."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=30) as connection:
            yield connection

    def exchange(self, request: bytes) -> bytes:
        """Send bytes, and read until the service ends the connection."""
        with self.connected() as connection:
            connection.sendall(request)
            return read_all(connection)

    def _announced(self, seen: int) -> re.Match[str] | None:
        if self.process.poll() is not None:
            self.finish_reading()
            raise AssertionError(f"it ended instead: {''.join(self.said[seen:])}")
        found = map(self.announces.match, self.said[seen:])
        return next(filter(None, found), None)

    def _read(self, process: subprocess.Popen[str]) -> None:
        assert process.stderr is not None
        for line in process.stderr:
            self.said.append(line)


def lines(orders: Iterable[Any]) -> bytes:
    """Write orders as lines."""
    return b"".join(json.dumps(order).encode() + b"\n" for order in orders)


def answers(body: bytes) -> list[dict[str, Any]]:
    """Parse a bulk response."""
    return [json.loads(line) for line in body.splitlines()]


def read_all(connection: socket.socket) -> bytes:
    """Read until the other side ends, however it does that."""
    received = b""
    try:
        while piece := connection.recv(65536):
            received += piece
    except ConnectionResetError:
        pass
    return received


def problem_of(response: httpx.Response, status: int, name: str) -> dict[str, Any]:
    """Hold an answer to being this problem, whole and well-formed; return the document."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    document: dict[str, Any] = response.json()
    assert document["type"] == f"/problems/{name}", document
    assert document["status"] == status
    assert document["title"]
    assert document["detail"]
    assert document["request_id"] == response.headers["x-request-id"]
    assert set(document) <= {"type", "title", "status", "detail", "request_id", "errors"}
    return document
