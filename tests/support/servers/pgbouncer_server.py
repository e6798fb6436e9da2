"""PgBouncer between clients and a PostgreSQL server of the tests' own."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import psycopg
from sqlalchemy.engine import make_url

from tests.support.needs import needed
from tests.support.servers.account import other_account
from tests.support.servers.daemon import Daemon, free_port

if TYPE_CHECKING:
    from tests.support.servers.postgres_server import PostgresServer

_USER = "postgres"
_SETTINGS = """
[databases]
* = host={folder} port={server_port}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = trust
auth_file = {users}
admin_users = {user}
"""


class PgBouncer(Daemon):
    """A pooler on a port of this machine, which lets everybody in.

    Args:
        server: What is behind it.
        settings: Lines of its section, such as ``pool_mode``.
    """

    graceful = signal.SIGKILL  # versions differ in whether SIGTERM waits for the clients

    def __init__(self, server: PostgresServer, **settings: object) -> None:
        self._program = needed("pgbouncer")
        super().__init__("pgbouncer", other_account())  # it refuses to be root, too
        self.port = free_port()
        users = self.folder / "users.txt"
        users.write_text(f'"{_USER}" ""\n')
        lines = _SETTINGS.format(
            folder=server.folder, server_port=server.port, port=self.port, users=users, user=_USER
        )
        lines += "".join(f"{name} = {value}\n" for name, value in settings.items())
        self._file = self.folder / "pgbouncer.ini"
        self._file.write_text(lines)
        self.start()

    def url_of(self, url: str) -> str:
        """Turn a database's URL into one that goes by the pooler."""
        way = make_url(url).set(host="127.0.0.1", port=self.port, query={})
        return way.render_as_string(hide_password=False)

    def _command(self) -> list[str]:
        return [str(self._program), str(self._file)]

    def _answers(self) -> bool:
        try:
            psycopg.connect(
                host="127.0.0.1", port=self.port, user=_USER, dbname="pgbouncer"
            ).close()
        except psycopg.OperationalError:
            return False
        return True
