"""Requests as the server hands them over: to read, to answer, and to leave unanswered."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple

from services.bank.problems import Problem

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, MutableMapping

    from services.bank.connections import Connection

    Scope = MutableMapping[str, Any]
    Message = MutableMapping[str, Any]
    Receive = Callable[[], Awaitable[Message]]
    Send = Callable[[Message], Awaitable[None]]
    App = Callable[[Scope, Receive, Send], Awaitable[None]]

MOST_BYTES = 64 * 1024
"""The longest body."""

HOLD_SECONDS = 60.0
"""How long a client is left without an answer, until the connection is closed."""

JSON = (b"content-type", b"application/json")


class Answer(NamedTuple):
    """A status code, a body, and what to say about it."""

    status: int
    body: bytes
    headers: list[tuple[bytes, bytes]]

    async def send(self, send: Send) -> None:
        """Send it."""
        await self._begin(send)
        await send({"type": "http.response.body", "body": self.body})

    async def send_half(self, send: Send) -> None:
        """Send the head, and half of the body that it announces."""
        await self._begin(send)
        half = self.body[: len(self.body) // 2]
        await send({"type": "http.response.body", "body": half, "more_body": True})

    async def _begin(self, send: Send) -> None:
        headers = [*self.headers, (b"content-length", str(len(self.body)).encode())]
        await send({"type": "http.response.start", "status": self.status, "headers": headers})


async def refuse(problem: Problem, send: Send) -> None:
    """Answer with a problem document."""
    body = problem.document()
    start = {"type": "http.response.start", "status": problem.kind.status}
    await send({**start, "headers": problem.raw_headers(len(body))})
    await send({"type": "http.response.body", "body": body})


async def read_body(scope: Scope, receive: Receive) -> bytes:
    """Read a body.

    Raises:
        Problem: It is too long, or ends too soon.
    """
    too_large = Problem(
        "too-large",
        f"body: must have at most {MOST_BYTES:,} bytes",
        headers={"connection": "close"},  # the rest is not read
    )
    for name, value in scope["headers"]:
        if name == b"content-length" and int(value) > MOST_BYTES:
            raise too_large
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Problem("malformed-request", "the connection ended in mid-body")
        body += message.get("body", b"")
        if len(body) > MOST_BYTES:
            raise too_large
        if not message.get("more_body"):
            return bytes(body)


async def hold(scope: Scope, receive: Receive) -> None:
    """Answer nothing, until the client has enough or has waited for very long."""
    connection: Connection = scope["connection"]
    connection.hold()
    with suppress(TimeoutError):
        async with asyncio.timeout(HOLD_SECONDS):
            await _leave(receive)
    await hang_up(scope, receive)


async def hang_up(scope: Scope, receive: Receive) -> None:
    """Close the connection, with what has been sent and no more."""
    connection: Connection = scope["connection"]
    connection.transport.close()
    await _leave(receive)


async def _leave(receive: Receive) -> None:
    """Wait for the connection's end; the server would take an answer amiss that is missing."""
    while (await receive())["type"] != "http.disconnect":
        pass
