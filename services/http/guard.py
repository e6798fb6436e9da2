"""What stands before every route: whom the service answers, a name for each request, and a log."""

from __future__ import annotations

import itertools
import re
import secrets
import time
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from starlette.requests import Request

from services.http.callers import Callers
from services.http.problems import Problem, of_ledger
from shared.errors import LedgerUnavailable
from shared.logs import Logger

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, MutableMapping

    from starlette.responses import Response

    from shared.settings import Settings

    Scope = MutableMapping[str, Any]
    Message = MutableMapping[str, Any]
    Receive = Callable[[], Awaitable[Message]]
    Send = Callable[[Message], Awaitable[None]]
    App = Callable[[Scope, Receive, Send], Awaitable[None]]
    Endpoint = Callable[[Request], Awaitable[Response]]

log = Logger("http")

SECURITY_HEADERS = [
    (b"x-content-type-options", b"nosniff"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cache-control", b"no-store"),
]
_POLLED = {"/healthz", "/readyz", "/metrics"}
"""Asked every few seconds by machines; logged only when the answer is a bad one."""

_SINGLE = (b"host", b"origin", b"authorization", b"content-type", b"sec-fetch-site")
"""Headers by which a request is judged: of two, whoever is in between may have read the other."""

_REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")


class Guard:
    """Wraps the application.

    Args:
        app: What answers the requests that pass.
        settings: Host, allowed names and token.
        on_response: Told the route, the status code and the seconds of every answer.
    """

    def __init__(
        self, app: App, settings: Settings, on_response: Callable[[str, int, float], None]
    ) -> None:
        self._app = app
        self._on_response = on_response
        self._callers = Callers(settings)
        self._shortcuts: dict[tuple[str, str], Endpoint] = {}
        self._prefix = secrets.token_hex(4)
        self._numbers = itertools.count(1)

    def shortcut(self, method: str, path: str, endpoint: Endpoint) -> None:
        """Let the application's endpoint for a path be called straight away.

        The framework would find the same one, and on the way there spend half of the time that a
        request takes.
        """
        self._shortcuts[method, path] = endpoint

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or refuse it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        headers: dict[bytes, bytes] = dict(scope["headers"])
        if scope["method"] == "HEAD":
            # What GET answers, and the server leaves out the body.
            scope = {**scope, "method": "GET", "is_head": True}
        request_id = self._name(headers.get(b"x-request-id", b""))
        scope["request_id"] = request_id
        status = 0

        async def answer(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                _complete(message, request_id)
            await send(message)

        try:
            await self._pass_on(scope, headers, receive, answer)
        except Problem as problem:
            await refuse(problem, request_id, answer)
        except LedgerUnavailable as error:
            await refuse(of_ledger(error), request_id, answer)
        except Exception:  # a bug: the log gets its traceback, the client a 500, and others go on
            log.exception("request failed", request_id=request_id, path=_route(scope))
            if not status:
                await refuse(Problem("internal-error"), request_id, answer)
        seconds = time.perf_counter() - started
        self._on_response(_route(scope), status, seconds)
        if status == HTTPStatus.OK and scope["path"] in _POLLED:
            return
        log.info(
            "request",
            method=scope["method"],
            path=scope["path"],
            status=status,
            ms=round(seconds * 1000, 1),
            request_id=request_id,
        )

    async def _pass_on(
        self, scope: Scope, headers: dict[bytes, bytes], receive: Receive, answer: Send
    ) -> None:
        if len(headers) < len(scope["headers"]):
            names = [name for name, _ in scope["headers"]]
            for name in _SINGLE:
                if names.count(name) > 1:
                    raise Problem("malformed-request", f"a request has one {name.decode()}")
        self._callers.check(scope["method"], scope["path"], headers)
        endpoint = self._shortcuts.get((scope["method"], scope["path"]))
        if endpoint is None:
            await self._app(scope, receive, answer)
        else:
            scope["shortcut"] = scope["path"]
            response = await endpoint(Request(scope, receive))
            await response(scope, receive, answer)

    def _name(self, given: bytes) -> str:
        """The request's id: the sender's own if it is usable."""
        if _REQUEST_ID.fullmatch(given):
            return given.decode()
        return f"{self._prefix}-{next(self._numbers)}"


async def refuse(problem: Problem, request_id: str, send: Send) -> None:
    """Answer with a problem document."""
    body = problem.document(request_id)
    start = {"type": "http.response.start", "status": problem.kind.status}
    await send({**start, "headers": problem.raw_headers(len(body))})
    await send({"type": "http.response.body", "body": body})


def _complete(message: Message, request_id: str) -> None:
    """Add the headers that every answer has, where it has not its own."""
    headers = list(message.get("headers", []))
    given = {name.lower() for name, _ in headers}
    headers += [header for header in SECURITY_HEADERS if header[0] not in given]
    headers.append((b"x-request-id", request_id.encode()))
    message["headers"] = headers


def _route(scope: Scope) -> str:
    """The pattern of the route that matched: few different ones, and no order's id."""
    return str(getattr(scope.get("route"), "path", None) or scope.get("shortcut", "none"))
