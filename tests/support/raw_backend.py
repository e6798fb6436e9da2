"""A payment backend that answers as an order's id says, byte by byte, and notes what it was asked.

The id's parts after the first are the steps: ``a.cut.paid`` is cut off at first, and paid when it
is asked for again. Where there are no more steps, an order is paid. A step is the name of a method
of `Script`, or a status code, perhaps with ``-`` and its ``Retry-After``.
"""

from __future__ import annotations

import json
import socket
import struct
import threading
import time
from contextlib import contextmanager, suppress
from email.utils import formatdate
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import parse_qsl, urlsplit

if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterator

JSON = "Content-Type: application/json\r\n"
REPLAYED = "Idempotent-Replayed: true\r\n"
_RESET = struct.pack("ii", 1, 0)
_LONG = 64 * 1024


class Request(NamedTuple):
    """What the backend was asked."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def key(self) -> str:
        """The key that it is about."""
        return self.headers.get("idempotency-key") or self.query.get("key", "")

    @property
    def order(self) -> str:
        return self.key.split("~")[1] if "~" in self.key else ""

    @property
    def query(self) -> dict[str, str]:
        return dict(parse_qsl(urlsplit(self.path).query))

    @property
    def kind(self) -> str:
        """The generation of a charge's key, or "?" for a look-up."""
        return self.key.rpartition("~")[2] if self.method == "POST" else "?"


class End(Exception):
    """The connection is to be closed."""


class Script:
    """What each step does; called with the request and its connection."""

    def __init__(self) -> None:
        self.charges: dict[str, dict[str, Any]] = {}
        self.together = threading.Barrier(1)

    def all(self, request: Request, connection: socket.socket) -> None:
        """Charge, and answer when so many more are asked for."""
        self.together.wait(30)
        self.paid(request, connection)

    def paid(self, request: Request, connection: socket.socket, **other: Any) -> None:
        """Charge, and say so, with these fields in place of the right ones."""
        charge = self._charge(request) | other
        if request.method == "GET":
            answer(connection, 200, json.dumps([charge]))
        else:
            answer(connection, 200, json.dumps(charge))

    def declined(self, request: Request, connection: socket.socket) -> None:
        charge = self._charge(request) | {"status": "declined", "reason": "too poor"}
        body = charge if request.method == "POST" else [charge]
        answer(connection, 402 if request.method == "POST" else 200, json.dumps(body))

    def known(self, request: Request, connection: socket.socket) -> None:
        """Tell of a charge what was charged before."""
        found = [each for key, each in self.charges.items() if key == request.key]
        answer(connection, 200, json.dumps(found))

    def free(self, _request: Request, connection: socket.socket) -> None:
        answer(connection, 200, "[]")

    def otheramount(self, request: Request, connection: socket.socket) -> None:
        self.paid(request, connection, amount=101)

    def floatamount(self, request: Request, connection: socket.socket) -> None:
        self.paid(request, connection, amount=float(json.loads(request.body)["amount"]))

    def othercurrency(self, request: Request, connection: socket.socket) -> None:
        self.paid(request, connection, currency="EUR")

    def otherreference(self, request: Request, connection: socket.socket) -> None:
        self.paid(request, connection, reference="somebody-else")

    def otherkey(self, request: Request, connection: socket.socket) -> None:
        self.paid(request, connection, key="another~one~0")

    def otherstatus(self, request: Request, connection: socket.socket) -> None:
        self.paid(request, connection, status="perhaps")

    def paid402(self, request: Request, connection: socket.socket) -> None:
        answer(connection, 402, json.dumps(self._charge(request)))

    def nojson(self, _request: Request, connection: socket.socket) -> None:
        answer(connection, 200, "<html>paid</html>")

    def deep(self, _request: Request, connection: socket.socket) -> None:
        answer(connection, 200, "[" * 50_000)

    def list(self, request: Request, connection: socket.socket) -> None:
        answer(connection, 200, json.dumps([self._charge(request)]))

    def object(self, _request: Request, connection: socket.socket) -> None:
        answer(connection, 200, "{}")

    def long(self, request: Request, connection: socket.socket) -> None:
        """Charge, and answer so that it would be right, but for its length."""
        self.paid(request, connection, padding="x" * _LONG)

    def longest(self, request: Request, connection: socket.socket) -> None:
        """The same with as many bytes as are read."""
        bare = len(json.dumps(self._charge(request) | {"padding": ""}))
        self.paid(request, connection, padding="x" * (_LONG - bare))

    def cut(self, request: Request, connection: socket.socket) -> None:
        """Charge, and close the connection in mid-answer."""
        body = json.dumps(self._charge(request))
        connection.sendall(_head(200, len(body)) + body[:20].encode())
        raise End

    def closed(self, request: Request, _connection: socket.socket) -> None:
        """Charge, and close the connection in place of an answer."""
        self._charge(request)
        raise End

    def reset(self, request: Request, connection: socket.socket) -> None:
        """Charge, and reset the connection."""
        self._charge(request)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        raise End

    def nohttp(self, _request: Request, connection: socket.socket) -> None:
        connection.sendall(b"paid, thank you\r\n\r\n")
        raise End

    def late(self, request: Request, connection: socket.socket) -> None:
        """Charge, and answer when nobody waits any more."""
        self._charge(request)
        connection.settimeout(20)
        with suppress(OSError):
            connection.recv(1)
        raise End

    def away(self, request: Request, connection: socket.socket) -> None:
        """Send the caller elsewhere, where its charge would be paid."""
        self._charge(request)
        answer(connection, 307, "", "Location: /paid\r\n")

    def status(self, step: str, connection: socket.socket) -> None:
        """Answer with a status code alone, as `429-2`, `503-date` or `500r` (replayed)."""
        code, _, after = step.partition("-")
        headers = JSON
        if code.endswith("r"):
            code, headers = code[:-1], JSON + REPLAYED
        if after == "date":
            after = formatdate(time.time() + 2, usegmt=True)
        if after:
            headers += f"Retry-After: {after}\r\n"
        answer(connection, int(code), json.dumps({"detail": "not so"}), headers)

    def _charge(self, request: Request) -> dict[str, Any]:
        if request.method == "POST" and request.key not in self.charges:
            self.charges[request.key] = {
                "id": len(self.charges) + 1,
                "key": request.key,
                **json.loads(request.body),
                "status": "paid",
                "reason": None,
            }
        return dict(self.charges.get(request.key, {}))


class RawBackend:
    """The backend, in threads of the test.

    Args:
        tls: How it speaks TLS, if it does.
        hangs_up: Whether it closes each connection after its answer, and does not say so.
        starts: Whether it takes connections at once; else `start` has it do so.

    Attributes:
        script: What it answers.
        resets: So many of the next connections are reset after the first byte of a request.
        token: What callers must show; empty for none.
        asked: All requests, in the order in which they came.
        connections: How many there were.
        well: What `/healthz` answers.
    """

    def __init__(
        self, tls: ssl.SSLContext | None = None, *, hangs_up: bool = False, starts: bool = True
    ) -> None:
        self._tls = tls
        self._hangs_up = hangs_up
        self.script = Script()
        self.resets = 0
        self.token = ""
        self._guard = threading.Lock()
        self.asked: list[Request] = []
        self.connections = 0
        self.well = 200
        self._listener = socket.socket()
        self._listener.bind(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        if starts:
            self.start()

    @property
    def url(self) -> str:
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Take connections from now on."""
        self._listener.listen(1024)
        threading.Thread(target=self._accept, daemon=True).start()

    @contextmanager
    def is_full(self) -> Iterator[None]:
        """Have connections wait for ever, while the block lasts."""
        self._listener.listen(0)
        waiting = []
        with suppress(BlockingIOError, TimeoutError):
            while True:
                waiting.append(socket.create_connection(("127.0.0.1", self.port), timeout=0.2))
        try:
            yield
        finally:
            for each in waiting:
                each.close()

    def close(self) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def of(self, order: str) -> str:
        """What it was asked about an order: generations of charges, and "?" for look-ups."""
        return "".join(each.kind for each in self.asked if each.order == order)

    def charged(self, order: str) -> int:
        """How many charges of an order there are."""
        return sum(key.split("~")[1] == order for key in self.script.charges)

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                self.connections += 1
                if self.resets:
                    self.resets -= 1
                    client.recv(1)
                    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                    client.close()
                    continue
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with client, suppress(OSError, End):
            connection = client
            if self._tls is not None:
                connection = self._tls.wrap_socket(client, server_side=True)
            with connection:
                while request := _read(connection):
                    self._answer(request, connection)
                    if self._hangs_up:
                        return

    def _answer(self, request: Request, connection: socket.socket) -> None:
        with self._guard:
            self.asked.append(request)
            before = sum(each.order == request.order for each in self.asked) - 1
        if self.token and request.headers.get("authorization") != f"Bearer {self.token}":
            answer(connection, 401, "{}")
            return
        if request.path.endswith("/healthz"):
            answer(connection, self.well, "{}")
            return
        if not request.order:
            answer(connection, 200, "[]")
            return
        steps = request.order.split(".")[1:]
        step = steps[before] if before < len(steps) else "paid"
        if step[0].isdigit():
            self.script.status(step, connection)
        else:
            getattr(self.script, step)(request, connection)


def answer(connection: socket.socket, status: int, body: str, headers: str = JSON) -> None:
    connection.sendall(_head(status, len(body.encode()), headers) + body.encode())


def _head(status: int, length: int, headers: str = JSON) -> bytes:
    return f"HTTP/1.1 {status} x\r\n{headers}Content-Length: {length}\r\n\r\n".encode()


def _read(connection: socket.socket) -> Request | None:
    received = b""
    while b"\r\n\r\n" not in received:
        piece = connection.recv(65536)
        if not piece:
            return None
        received += piece
    head, _, body = received.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    headers = {}
    for line in lines:
        name, _, value = line.partition(": ")
        headers[name.lower()] = value
    while len(body) < int(headers.get("content-length", "0")):
        body += connection.recv(65536)
    method, path, _ = first.split()
    return Request(method, path, headers, body)
