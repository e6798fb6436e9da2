"""A way to PostgreSQL on which answers to commits are lost, after those were carried out."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress

from sqlalchemy.engine import make_url

_COMMIT = b"COMMIT\0"


class LossyWay:
    """Forwards connections to a server.

    Args:
        url: The server's, with its port and password.

    Attributes:
        url: The same database, by this way.
        every: Which commits' answers are lost, and their connections with them: every so many;
            0 for none.
        lost: How many were.
    """

    def __init__(self, url: str) -> None:
        address = make_url(url)
        self._server = str(address.host), int(address.port or 0)
        self._listener = socket.create_server(("127.0.0.1", 0))
        port = self._listener.getsockname()[1]
        # In plain text, so that a commit can be told from the rest.
        way = address.set(port=port, query={"sslmode": "disable", "gssencmode": "disable"})
        self.url = way.render_as_string(hide_password=False)
        self.every = 0
        self.lost = 0
        self._commits = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """Take no more connections; those there are end with their clients."""
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._connect, args=(client,), daemon=True).start()

    def _connect(self, client: socket.socket) -> None:
        doomed = threading.Event()
        with client, suppress(OSError), socket.create_connection(self._server) as server:
            back = threading.Thread(target=_forward, args=(server, client, doomed), daemon=True)
            back.start()
            while data := client.recv(65536):
                if data.endswith(_COMMIT) and self._is_to_be_lost():
                    doomed.set()
                server.sendall(data)
            server.shutdown(socket.SHUT_WR)
            back.join()

    def _is_to_be_lost(self) -> bool:
        if not self.every:
            return False
        self._commits += 1
        if self._commits % self.every:
            return False
        self.lost += 1
        return True


def _forward(server: socket.socket, client: socket.socket, doomed: threading.Event) -> None:
    """Forward what a server answers, but end the connection in place of a doomed answer."""
    with suppress(OSError):
        while data := server.recv(65536):
            if doomed.is_set():
                break
            client.sendall(data)
    with suppress(OSError):
        client.shutdown(socket.SHUT_RDWR)
