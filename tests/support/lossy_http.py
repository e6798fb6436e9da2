"""A way to an HTTP server on which answers are lost, and others cut, after what they answer."""

from __future__ import annotations

import asyncio
import random
import threading
from collections import Counter
from contextlib import suppress
from typing import TYPE_CHECKING

from tests.support.eventually import eventually

if TYPE_CHECKING:
    from asyncio import StreamReader, StreamWriter


class LossyHttp:
    """Passes requests on to a server, from connections that are kept alive, in a thread of its own.

    Args:
        target: The server's port.
        lost: Which share of the answers never comes.
        cut: Of which share only the first half comes, and the end of the connection.
        seed: By which they are drawn.

    Attributes:
        url: This way's address.
        done: What became of the answers: ``whole``, ``lost``, ``cut``.
    """

    def __init__(self, target: int, *, lost: float, cut: float, seed: int) -> None:
        self._target = target
        self._shares = lost, cut
        self._draw = random.Random(seed)
        self._loop = asyncio.new_event_loop()
        self._port = 0
        self.done: Counter[str] = Counter()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        eventually(lambda: self._port, what="the way is open")

    @property
    def url(self) -> str:
        """This way's address."""
        return f"http://127.0.0.1:{self._port}"

    def close(self) -> None:
        """End all connections."""
        self._loop.call_soon_threadsafe(self._ended.set)
        self._thread.join(timeout=30)

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._listen())

    async def _listen(self) -> None:
        self._ended = asyncio.Event()
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self._port = server.sockets[0].getsockname()[1]
        await self._ended.wait()
        server.close()

    async def _serve(self, client: StreamReader, back: StreamWriter) -> None:
        with suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            server, on = await asyncio.open_connection("127.0.0.1", self._target)
            try:
                while await self._pass(client, back, server, on):
                    pass
            finally:
                on.close()
        back.close()
        with suppress(OSError):
            await back.wait_closed()

    async def _pass(
        self, client: StreamReader, back: StreamWriter, server: StreamReader, on: StreamWriter
    ) -> bool:
        """Pass on a request and its answer; return whether the connection is still of use."""
        on.write(await _message(client))
        answer = await _message(server)
        fate = self._fate()
        self.done[fate] += 1
        if fate == "lost":
            await client.read()  # until the client has had enough
            return False
        back.write(answer if fate == "whole" else answer[: len(answer) // 2])
        await back.drain()
        return fate == "whole"

    def _fate(self) -> str:
        lost, cut = self._shares
        drawn = self._draw.random()
        return "lost" if drawn < lost else "cut" if drawn < lost + cut else "whole"


async def _message(stream: StreamReader) -> bytes:
    """Read one request or answer, whose length is announced."""
    head = await stream.readuntil(b"\r\n\r\n")
    lengths = [
        int(line.partition(b":")[2])
        for line in head.lower().split(b"\r\n")
        if line.startswith(b"content-length:")
    ]
    return head + await stream.readexactly(sum(lengths))
