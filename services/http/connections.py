"""Connections: how long each may keep us waiting, and how many there may be.

Whoever connects costs a file descriptor until it leaves, and some never say a word. So a head and a
body must come at some pace, and an answer be read at one. Where as many are open as there may be,
those that have kept us waiting longest make room for new ones.

They are uvicorn's, which has no deadline but the one for a connection that is idle.
"""

from __future__ import annotations

import time
from collections import deque
from typing import TYPE_CHECKING, Any

from typing_extensions import override
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from services.http.connection_limits import PACE_BYTES, STILL_SECONDS, Pace
from services.http.guard import SECURITY_HEADERS
from services.http.problems import Problem

if TYPE_CHECKING:
    import asyncio

HEAD_BYTES = 64 * 1024
"""The longest request line and headers, roughly; browsers and proxies stop far below."""

HEAD_SECONDS = 10.0
"""From a connection's beginning, or a head's, to the head's end."""

_LATE_SECONDS = 5.0
_SLICE_BYTES = 16 * 1024
_MOST_HELD = 1024 * 1024
_EVICTED = 32
"""So many at once, since finding out who has waited longest takes a while."""

_NO_TRAILERS: deque[tuple[bytes, bytes]] = deque(maxlen=0)
"""Where the fields after a body go, of which there could be any number: nowhere."""

_CLOSE = (b"connection", b"close")


class Connections:
    """All that are open.

    Args:
        most: How many there may be.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._checked_at = time.monotonic()
        self._open: set[_Connection] = set()

    def new(self, **options: Any) -> _Connection:  # noqa: ANN401  uvicorn's, and passed on
        """Make what uvicorn calls a protocol: one for each connection."""
        return _Connection(self, options)

    def check(self) -> None:
        """End those that have kept us waiting for too long; call it every second."""
        now = time.monotonic()
        was_late, self._checked_at = now - self._checked_at > _LATE_SECONDS, now
        for each in list(self._open):
            if was_late:
                each.restart(now)  # we were held up ourselves: nobody can tell who was slow
            each.check(now)

    def add(self, newest: _Connection) -> None:
        """Take one in, and make room for it: at the cost of those that wait for their senders.

        First those go that are idle, and of all those that have done so for longest. Where
        everybody waits for us the new one goes.
        """
        if len(self._open) >= self._most:
            waiting = [each for each in self._open if each.is_evictable]
            waiting.sort(key=lambda each: (not each.is_idle, each.waiting_since))
            for each in waiting[:_EVICTED] or [newest]:
                self.discard(each)
                each.evict()
        if newest.is_evictable:
            self._open.add(newest)

    def discard(self, one: _Connection) -> None:
        """Forget one that has ended, or is about to."""
        self._open.discard(one)


class _Connection(HttpToolsProtocol):
    """One connection; limits its head, and for how long it keeps us waiting.

    The parser would take headers without end, and keep them in memory before anybody is asked.
    """

    def __init__(self, all_: Connections, options: dict[str, Any]) -> None:
        super().__init__(**options)
        self._all = all_
        now = time.monotonic()
        self._sending, self._reading = Pace(now), Pace(now)
        self._head_at = self._answered_at = now
        self._head_bytes = 0
        self._is_in_head = self._is_in_body = False
        self._held = b""

    @override
    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._all.add(self)

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        self._all.discard(self)
        super().connection_lost(exc)

    @override
    def on_message_begin(self) -> None:
        self._is_in_head, self._head_bytes = True, 0
        self._head_at = time.monotonic()
        super().on_message_begin()

    @override
    def on_headers_complete(self) -> None:
        self._is_in_head, self._is_in_body = False, True
        self._sending.restart(time.monotonic())
        super().on_headers_complete()
        self.headers = _NO_TRAILERS  # type: ignore[assignment]

    @override
    def on_message_complete(self) -> None:
        self._is_in_body = False
        super().on_message_complete()

    @override
    def on_response_complete(self) -> None:
        self._answered_at = time.monotonic()
        super().on_response_complete()
        if self._is_in_head:
            self._unset_keepalive_if_required()  # the next request has begun: it is not idle
        if self._held and not self.transport.is_closing():
            self.flow.pause_reading()
            self.loop.call_soon(self._feed_held)

    @override
    def data_received(self, data: bytes) -> None:
        self._sending.move(time.monotonic(), len(data))
        if len(data) <= _SLICE_BYTES and not self._held and not self.pipeline:
            self._feed(data)
            return
        self._held += data
        self._feed_held()

    @override
    def resume_writing(self) -> None:
        self._reading.move(time.monotonic(), PACE_BYTES)
        super().resume_writing()

    @override
    def send_400_response(self, msg: str) -> None:
        self._refuse(Problem("malformed-request", msg))

    def check(self, now: float) -> None:
        """End it if it has kept us waiting for too long."""
        if self._reading.is_too_slow(now, left=self.transport.get_write_buffer_size()):
            self.transport.abort()
        elif self.transport.is_closing() or self._waits_for_us:
            self._await_sender(now)
        elif self._is_in_head or self.cycle is None:
            if now - self._head_at > HEAD_SECONDS:
                self._expire(f"the head did not come in {HEAD_SECONDS:g} s")
        elif self._is_in_body:
            is_late = self.cycle.response_complete and now - self._answered_at > STILL_SECONDS
            if is_late or self._sending.is_too_slow(now):
                self._expire(f"the body stood still for {STILL_SECONDS:g} s, or nearly so")
        elif now - self.waiting_since > self.timeout_keep_alive:
            self.transport.close()  # what is no request has ended the timer that would do it

    def restart(self, now: float) -> None:
        """Give both directions their time anew."""
        self._reading.restart(now)
        self._await_sender(now)

    def _await_sender(self, now: float) -> None:
        self._sending.restart(now)
        self._head_at = now

    def evict(self) -> None:
        """Make room for others."""
        if self.is_idle and self.cycle is not None:
            self.transport.close()
        else:
            self._refuse(Problem("too-many-connections"))

    @property
    def is_idle(self) -> bool:
        """Whether there is no request that has begun and is not answered."""
        return not self._is_in_head and (self.cycle is None or self.cycle.response_complete)

    @property
    def is_evictable(self) -> bool:
        """Whether it waits for its sender, and not for us."""
        return not self.transport.is_closing() and not self._waits_for_us

    @property
    def waiting_since(self) -> float:
        """Since when nothing came, and nothing was answered (monotonic seconds)."""
        return max(self._sending.moved_at, self._answered_at)

    @property
    def _waits_for_us(self) -> bool:
        if self.cycle is None or self.cycle.response_complete:
            return False
        return not self._is_in_body or self.flow.read_paused or bool(self.cycle.body)

    def _feed_held(self) -> None:
        """Parse in slices, and no more while requests wait for their turn.

        A piece may hold thousands of requests that follow one another unasked; each would be made
        ready before the first is answered.
        """
        data, at = self._held, 0
        while at < len(data) and not self.pipeline and not self.transport.is_closing():
            self._feed(data[at : at + _SLICE_BYTES])
            at += _SLICE_BYTES
        self._held = data[at:]
        if len(self._held) > _MOST_HELD:
            self.transport.close()
        elif self._held:
            self.flow.pause_reading()

    def _feed(self, data: bytes) -> None:
        super().data_received(data)
        if self._is_in_head and not self.transport.is_closing():
            self._head_bytes += len(data)
            if self._head_bytes > HEAD_BYTES:
                self._refuse(Problem("head-too-large", f"it has more than {HEAD_BYTES:,} bytes"))

    def _expire(self, why: str) -> None:
        if self.is_idle:
            self.transport.close()
        else:
            self._refuse(Problem("too-slow", why))

    def _refuse(self, problem: Problem) -> None:
        """Answer and end, unless that would be taken for the answer to another request."""
        if not self._waits_for_answer:
            body = problem.document("none")
            headers = [*problem.raw_headers(len(body)), *SECURITY_HEADERS, _CLOSE]
            lines = b"".join(name + b": " + value + b"\r\n" for name, value in headers)
            self.transport.write(STATUS_LINE[problem.kind.status] + lines + b"\r\n" + body)
        self.transport.close()

    @property
    def _waits_for_answer(self) -> bool:
        if self.cycle is None or self.cycle.response_complete:
            return False
        return bool(self.pipeline) or not self._is_in_body or self.cycle.response_started
