"""nginx as a proxy in front of a service, with the lines that its readers would write."""

from __future__ import annotations

import os
import signal
import socket
from typing import TYPE_CHECKING

from tests.support.needs import needed
from tests.support.servers.daemon import Daemon

if TYPE_CHECKING:
    from pathlib import Path

_MAIN = """
daemon off;
pid {folder}/pid;
error_log {folder}/log;
{user}
events {{ worker_connections 1024; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
{http}
}}
"""


class NginxServer(Daemon):
    """One nginx.

    Args:
        http: What stands in its block ``http``.
        port: Where one of the servers in it listens.
    """

    immediate = signal.SIGTERM  # unlike SIGKILL it takes the server's workers along

    def __init__(self, http: str, port: int) -> None:
        self._program: Path = needed("nginx")
        super().__init__("nginx")
        self._port = port
        user = "user root;" if os.geteuid() == 0 else ""
        text = _MAIN.format(folder=self.folder, user=user, http=http)
        (self.folder / "nginx.conf").write_text(text)
        self.start()

    def _command(self) -> list[str]:
        return [str(self._program), "-p", f"{self.folder}/", "-c", "nginx.conf"]

    def _answers(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self._port)) == 0
