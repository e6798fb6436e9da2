"""One message to many listeners, as server-sent events: encoded once, and never queued.

A listener that takes its time gets the latest message when it is ready for one, and has missed
those in between. Each message is whole, so that nothing is lost by that.
"""

from __future__ import annotations

import asyncio
import threading
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

MOST_LISTENERS = 64
BEAT_SECONDS = 10.0
"""Silence after which a listener gets a comment, so that what lies between keeps the connection."""


class Broadcast:
    """Hands messages from a thread to the coroutines that listen.

    Attributes:
        is_wanted: Set when somebody has begun to listen.
    """

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._listeners: set[asyncio.Event] = set()
        self._latest = b""
        self._is_closed = False
        self.is_wanted = threading.Event()

    @property
    def listeners(self) -> int:
        """How many listen."""
        return len(self._listeners)

    @property
    def is_full(self) -> bool:
        """Whether nobody else may listen."""
        return self.listeners >= MOST_LISTENERS

    def publish(self, message: str) -> None:
        """Send a message, in one line, to all who listen; from any thread."""
        self._latest = f"data: {message}\n\n".encode()
        self._wake()

    def close(self) -> None:
        """Let every listener have the last message, and end."""
        self._is_closed = True
        self._wake()

    async def listen(self) -> AsyncIterator[bytes]:
        """Yield messages as they come, to be sent as they are."""
        self._loop = asyncio.get_running_loop()
        if not self._listeners:
            self._latest = b""  # of the last time that somebody listened
        news = asyncio.Event()
        self._listeners.add(news)
        self.is_wanted.set()
        try:
            yield b"retry: 1000\n\n"
            message = self._latest
            while True:
                if message:
                    yield message
                if self._is_closed:
                    return
                message = await self._next(news)
        finally:
            self._listeners.discard(news)

    async def _next(self, news: asyncio.Event) -> bytes:
        try:
            await asyncio.wait_for(news.wait(), BEAT_SECONDS)
        except TimeoutError:
            return b": still here\n\n"
        news.clear()
        return self._latest

    def _wake(self) -> None:
        if self._loop is not None:
            with suppress(RuntimeError):  # it has ended, and with it all who listened
                self._loop.call_soon_threadsafe(self._tell)

    def _tell(self) -> None:
        for news in self._listeners:
            news.set()
