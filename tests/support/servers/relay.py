"""What stands between Orderly and a Redis: a name that moves, a proxy, one that refuses.

It answers PING and what a client says first whatever happens, as such servers do.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from io import BufferedReader

AT_THE_DOOR = {b"PING", b"HELLO", b"AUTH", b"CLIENT", b"SELECT"}


class Relay:
    """Takes connections on a port of its own, and passes on what is said to a server.

    Args:
        target: The server's port.

    Attributes:
        port: Where it listens.
        url: The same, as a URL.
        target: Where new connections lead; those that are there stay where they are.
        answer: What commands are answered in the server's place; empty for its own answers.
        is_silent: Whether nothing is answered at all.
    """

    def __init__(self, target: int) -> None:
        self.target = target
        self.answer = b""
        self.is_silent = False
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self._open: list[socket.socket] = []
        self._run(self._accept)

    def refuse(self, error: str) -> None:
        """Answer every command with an error, as one line; with an empty one no longer."""
        self.answer = f"-{error}\r\n".encode() if error else b""

    def cut(self) -> None:
        """End the connections that are there."""
        ended, self._open = self._open, []
        for each in ended:
            _end(each)

    def close(self) -> None:
        _end(self._listener)
        self.cut()

    def _run(self, what: object, *arguments: object) -> None:
        threading.Thread(target=what, args=arguments, daemon=True).start()  # type: ignore[arg-type]

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                try:
                    server = socket.create_connection(("127.0.0.1", self.target), timeout=10)
                except OSError:
                    _end(client)
                    continue
                server.settimeout(None)
                self._open += [client, server]
                self._run(self._ask, client, server)
                self._run(self._return, server, client)

    def _ask(self, client: socket.socket, server: socket.socket) -> None:
        """Pass on commands, or answer them."""
        stream = client.makefile("rb")
        with contextlib.suppress(OSError, ValueError):
            while head := stream.readline():
                words = [_word(stream) for _ in range(int(head[1:]))]
                if self.is_silent:
                    continue
                if self.answer and words[0].upper() not in AT_THE_DOOR:
                    client.sendall(self.answer)
                else:
                    server.sendall(
                        head + b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in words)
                    )
        _end(client)
        _end(server)

    def _return(self, server: socket.socket, client: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while piece := server.recv(65536):
                if not self.is_silent:
                    client.sendall(piece)
        _end(client)
        _end(server)


def _word(stream: BufferedReader) -> bytes:
    size = int(stream.readline()[1:])
    return stream.read(size + 2)[:-2]


def _end(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
    connection.close()
