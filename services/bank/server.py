"""Runs the bank until a signal ends it: `orderly bank`."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import uvicorn
from typing_extensions import override

from services.bank.app import BankApp
from services.bank.book import open_book, telling
from services.bank.charging import Charging
from services.bank.connections import KEEP_ALIVE, MOST_CONNECTIONS, Connections
from services.bank.lookups import Lookups
from services.bank.writer import Writer
from services.processes.listening import bind, raise_limit, url_of
from services.processes.signals import StopRequests
from shared.collector import tune_gc
from shared.library_logs import forward_warnings
from shared.logs import Logger

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable
    from pathlib import Path

    from services.bank.requests import App
    from shared.settings import Settings

TICK_SECONDS = 0.2
FINISH_SECONDS = 3
"""How long requests under way may take to finish when the bank ends."""

_RESERVE = 64
"""Descriptors for the book and whatever else is no connection."""

log = Logger("bank")


def run_bank(
    settings: Settings, host: str, port: int, path: Path, say: Callable[[str], None]
) -> None:
    """Serve until a signal comes, answer what was asked until then, and end.

    Raises:
        OrderlyError: With the exit code that it means. What was acknowledged is kept.
    """
    stop = StopRequests()
    with stop.handled(), bind(host, port, "--port") as listener:

        def announce(url: str) -> None:
            say(f"bank on {url}, its book is {path}; Ctrl-C ends it")

        serve_bank(settings, listener, path, stop, announce)


def serve_bank(
    settings: Settings,
    listener: socket.socket,
    path: Path,
    stop: StopRequests,
    on_start: Callable[[str], None],
) -> None:
    """Serve on a socket until it is asked to stop.

    Raises:
        OrderlyError: With the exit code that it means. What was acknowledged is kept.
    """
    open_book(path)
    with telling(path):
        writer, lookups = Writer(path, settings.opening_balance), Lookups(path)
    charging = Charging(writer)
    server = BankServer(BankApp(charging, lookups, settings), listener, charging.hurry)
    try:
        server.start()
        tune_gc()
        on_start(server.url)
        while not stop.drain.wait(TICK_SECONDS):
            server.check()
        server.stop(stop.abort)
    finally:
        writer.close()
        lookups.close()


class BankServer:
    """Uvicorn in a thread; the main thread stays free for signals.

    Args:
        app: What answers.
        listener: The socket that it listens on.
        on_end: Called in that thread, when no more requests are taken.

    Attributes:
        url: Where it can be called from this machine.
    """

    def __init__(self, app: App, listener: socket.socket, on_end: Callable[[], None]) -> None:
        self._listener = listener
        self.url = url_of(listener)
        limit = raise_limit()
        backlog = max(16, min(1024, limit // 4))
        connections = Connections(max(16, min(MOST_CONNECTIONS, limit - backlog - _RESERVE)))

        async def notify() -> None:
            connections.check()

        config = uvicorn.Config(
            app,
            http=connections.new,  # type: ignore[arg-type]
            backlog=backlog,
            timeout_keep_alive=KEEP_ALIVE,
            loop="uvloop",
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_graceful_shutdown=FINISH_SECONDS,
            timeout_notify=1,
            callback_notify=notify,
        )
        self._server = _Server(config, on_end)
        self._thread = threading.Thread(target=self._run, name="bank", daemon=True)
        self._error: BaseException | None = None
        forward_warnings("uvicorn.error", log, "server")

    def start(self) -> None:
        """Begin to answer."""
        self._thread.start()

    def stop(self, at_once: threading.Event) -> None:
        """Take no more requests, and wait until those under way are answered.

        Args:
            at_once: Set if they are to be left alone.
        """
        self._server.should_exit = True
        while self._thread.is_alive():
            self._server.force_exit = at_once.is_set()
            self._thread.join(TICK_SECONDS)

    def check(self) -> None:
        """Raise here what ended the server's thread."""
        if self._error is not None:
            raise self._error
        if not self._thread.is_alive():
            raise RuntimeError("the bank's server has ended")

    def _run(self) -> None:
        try:
            self._server.run(sockets=[self._listener])
        except BaseException as error:  # noqa: BLE001  raised again by check()
            self._error = error


class _Server(uvicorn.Server):
    """Uvicorn, which tells of its end at its beginning."""

    def __init__(self, config: uvicorn.Config, on_end: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_end = on_end

    @override
    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._on_end()
        await super().shutdown(sockets)
