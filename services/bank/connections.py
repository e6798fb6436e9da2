"""Connections to the bank: how many there may be, and how long each may keep it waiting.

They are uvicorn's, which has a deadline only for a connection that is idle between two requests.
"""

from __future__ import annotations

import time
from collections import deque
from typing import TYPE_CHECKING, Any

from typing_extensions import override
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from services.bank.problems import Problem

if TYPE_CHECKING:
    import asyncio

HEAD_BYTES = 16 * 1024
"""The longest request line and headers, roughly."""

REQUEST_SECONDS = 10.0
"""From a connection's beginning, or a request's, to the request's end."""

STILL_SECONDS = 20.0
"""How long an answer may go unread."""

MOST_CONNECTIONS = 4096

_NO_TRAILERS: deque[tuple[bytes, bytes]] = deque(maxlen=0)
"""Where the fields after a body go, of which there could be any number: nowhere."""

KEEP_ALIVE = 75
"""Seconds for which a connection may be idle between two requests."""


class Connections:
    """All that are open.

    Args:
        most: How many there may be.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._open: set[Connection] = set()

    def new(self, **options: Any) -> Connection:  # noqa: ANN401  uvicorn's, and passed on
        """Make what uvicorn calls a protocol: one for each connection."""
        return Connection(self, options)

    def check(self) -> None:
        """End those that have kept us waiting for too long; call it every second."""
        now = time.monotonic()
        for each in list(self._open):
            each.check(now)

    def add(self, one: Connection) -> bool:
        """Take one in; say whether there is room."""
        if len(self._open) >= self._most:
            return False
        self._open.add(one)
        return True

    def discard(self, one: Connection) -> None:
        """Forget one that has ended."""
        self._open.discard(one)


class Connection(HttpToolsProtocol):
    """One connection; a request finds it in its scope, as ``connection``."""

    def __init__(self, all_: Connections, options: dict[str, Any]) -> None:
        super().__init__(**options)
        self._all = all_
        self._due = self._idle_since = self._read_at = time.monotonic()
        self._is_awaited = self._is_in_head = False
        self._head_bytes = self._unread = 0
        self._is_held = False

    @override
    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if not self._all.add(self):
            self._refuse(Problem("busy", "as many connections are open as there may be"))

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        self._all.discard(self)
        super().connection_lost(exc)

    @override
    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._is_in_head and not self.transport.is_closing():
            self._head_bytes += len(data)
            if self._head_bytes > HEAD_BYTES:
                self._refuse(Problem("head-too-large", f"it has more than {HEAD_BYTES:,} bytes"))

    @override
    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.scope["connection"] = self  # type: ignore[typeddict-unknown-key]
        self._due = time.monotonic() + REQUEST_SECONDS
        self._is_awaited = self._is_in_head = True
        self._head_bytes = 0

    @override
    def on_headers_complete(self) -> None:
        self._is_in_head = False
        super().on_headers_complete()
        self.headers = _NO_TRAILERS  # type: ignore[assignment]

    @override
    def on_message_complete(self) -> None:
        self._is_awaited = False
        super().on_message_complete()

    @override
    def on_response_complete(self) -> None:
        self._idle_since = time.monotonic()
        super().on_response_complete()
        if self._is_in_head:
            self._unset_keepalive_if_required()  # the next request has begun: it is not idle

    @override
    def send_400_response(self, msg: str) -> None:
        self._refuse(Problem("malformed-request", msg))

    @override
    def shutdown(self) -> None:
        if self._is_held or self._is_awaited:
            self.transport.close()
        else:
            super().shutdown()

    def hold(self) -> None:
        """Take note that its request is not going to be answered."""
        self._is_held = True

    def check(self, now: float) -> None:
        """End it if it has kept us waiting for too long."""
        unread = self.transport.get_write_buffer_size()
        if not unread or unread < self._unread:
            self._read_at = now
        self._unread = unread
        if unread and now - self._read_at > STILL_SECONDS:
            self.transport.abort()
        elif self._is_awaited and now > self._due:
            self._refuse(Problem("too-slow", f"it did not come in {REQUEST_SECONDS:g} s"))
        elif self._is_idle and now - self._idle_since > KEEP_ALIVE:
            self.transport.close()  # bytes that are no request have ended the timer that would

    @property
    def _is_idle(self) -> bool:
        """Whether there is no request that has begun and is not answered."""
        return not self._is_awaited and (self.cycle is None or self.cycle.response_complete)

    def _refuse(self, problem: Problem) -> None:
        """Answer and end, unless that would be taken for the answer to an earlier request."""
        is_first = self.cycle is None or self.cycle.response_complete
        if is_first or (self._is_in_body and not self.cycle.response_started):
            body = problem.document()
            headers = [*problem.raw_headers(len(body)), (b"connection", b"close")]
            lines = b"".join(name + b": " + value + b"\r\n" for name, value in headers)
            self.transport.write(STATUS_LINE[problem.kind.status] + lines + b"\r\n" + body)
        self.transport.close()

    @property
    def _is_in_body(self) -> bool:
        """Whether the request that is to be answered next is still coming in."""
        return self._is_awaited and not self._is_in_head and not self.pipeline
