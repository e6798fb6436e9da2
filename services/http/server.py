"""The HTTP server: uvicorn in a thread, on a socket that was bound before anything else started.

The main thread stays free to supervise; Linux ties the workers to it.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import uvicorn

from services.http.connections import Connections
from services.processes.listening import url_of
from shared.library_logs import forward_warnings
from shared.logs import Logger
from shared.resilience import Mishaps

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from services.http.connection_limits import Room
    from services.http.guard import App

FINISH_SECONDS = 20
"""How long requests under way may take to finish when the service stops."""

log = Logger("http")


class HttpServer:
    """Serves an application on a bound socket, in a thread of its own.

    Args:
        app: The application.
        listener: The socket.
        room: How many connections there may be.
        keep_alive: Seconds for which a connection may be idle between two requests.
        each_second: What to call every second, in that thread.

    Attributes:
        url: Where it can be called from this machine.
    """

    def __init__(
        self,
        app: App,
        listener: socket.socket,
        room: Room,
        *,
        keep_alive: int,
        each_second: Callable[[], None],
    ) -> None:
        self._listener = listener
        self.url = url_of(listener)

        mishaps = Mishaps(log, "upkeep failed")

        connections = Connections(room.most)

        async def notify() -> None:
            with mishaps.survived():  # what is raised here would end the server
                each_second()
            connections.check()

        config = uvicorn.Config(
            app,
            http=connections.new,  # type: ignore[arg-type]
            backlog=room.backlog,
            timeout_keep_alive=keep_alive,
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
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._run, name="http", daemon=True)
        self._error: BaseException | None = None
        forward_warnings("uvicorn.error", log, "server")

    def start(self) -> None:
        """Begin to answer."""
        self._thread.start()

    def stop(self) -> None:
        """Take no more requests; those under way are finished. Returns at once."""
        self._server.should_exit = True

    @property
    def is_running(self) -> bool:
        """Whether requests are still being answered."""
        return self._thread.is_alive()

    def check(self) -> None:
        """Raise here what ended the server's thread."""
        if self._error is not None:
            raise self._error
        if not self.is_running and not self._server.should_exit:
            raise RuntimeError("the HTTP server has ended")

    def _run(self) -> None:
        try:
            self._server.run(sockets=[self._listener])
        except BaseException as error:  # noqa: BLE001  raised again by check()
            self._error = error
