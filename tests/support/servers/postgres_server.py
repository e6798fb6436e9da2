"""PostgreSQL servers: one of the tests' own, or one that is given in `LEDGER_URL`."""

from __future__ import annotations

import itertools
import secrets
import signal
import subprocess
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING
from urllib.parse import quote

import psycopg
from psycopg import sql
from sqlalchemy.engine import URL, make_url
from typing_extensions import override

from tests.support.eventually import eventually
from tests.support.orderly import children_of, kill
from tests.support.processes import is_alive
from tests.support.servers.account import other_account
from tests.support.servers.daemon import Daemon, free_port
from tests.support.servers.programs import ServerMissing, postgres_programs

if TYPE_CHECKING:
    from pathlib import Path

_USER = "postgres"
_SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "max_connections": "200",
    # In its folder, which is removed, in place of the system's shared memory.
    "dynamic_shared_memory_type": "mmap",
}
# A killed server has its data again all the same: the machine itself stays up.
_CARELESS = {"fsync": "off", "full_page_writes": "off"}


class Postgres(ABC):
    """A server with databases for tests in it.

    Attributes:
        url: Where it is; the database that it names is nobody's ledger.
    """

    url: str

    def new_database(self) -> str:
        """Make an empty database; return its URL."""
        name = self._new_name()
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        return _render(make_url(self.url).set(database=name))

    def empty(self, url: str) -> None:
        """Take everything out of a database, which is quicker than making another one."""
        with psycopg.connect(url) as connection:
            schemas = connection.execute(
                "SELECT nspname FROM pg_namespace"
                " WHERE nspname NOT LIKE 'pg\\_%' AND nspname <> 'information_schema'"
            ).fetchall()
            for (name,) in schemas:
                connection.execute(sql.SQL("DROP SCHEMA {} CASCADE").format(sql.Identifier(name)))
            connection.execute("CREATE SCHEMA public")

    @abstractmethod
    def _new_name(self) -> str:
        """Choose the name of a database."""


class GivenPostgres(Postgres):
    """A server that somebody else runs: only databases with names of our own are touched.

    Args:
        url: Its URL, of a user that may create databases.
    """

    def __init__(self, url: str) -> None:
        self.url = _render(make_url(url))
        self._names: list[str] = []
        try:
            psycopg.connect(self.url).close()
        except psycopg.OperationalError as error:
            raise ServerMissing(f"LEDGER_URL: {error}") from None

    def close(self) -> None:
        """Drop what was made, whoever is still in it."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            for name in self._names:
                drop = sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)")
                connection.execute(drop.format(sql.Identifier(name)))

    @override
    def _new_name(self) -> str:
        self._names.append(f"orderly_test_{secrets.token_hex(4)}")
        return self._names[-1]


class PostgresServer(Postgres, Daemon):
    """A server on a socket in its folder and on a port of this machine; both last as it does.

    Through the socket it trusts whoever may enter the folder; on the port it asks for a password.

    Args:
        is_durable: Whether what was committed would survive a power cut, as it should elsewhere.

    Attributes:
        port: Where it listens, or did.
        password: Its user's.
        programs: The folder of PostgreSQL's programs.
    """

    graceful = signal.SIGINT  # not SIGTERM, which waits until every client has gone
    immediate = signal.SIGQUIT  # unlike SIGKILL it takes the server's own processes along

    def __init__(self, *, is_durable: bool = False) -> None:
        account = other_account()
        self._settings = _SETTINGS if is_durable else _SETTINGS | _CARELESS
        super().__init__("pg", account)
        try:
            self.programs = postgres_programs(account, self.folder)
            self.port = free_port()
            self.url = f"postgresql://{_USER}@:{self.port}/postgres?host={quote(str(self.folder))}"
            self.password = secrets.token_hex(8)
            self._numbers = itertools.count(1)
            self._left_behind = False
            self._make()
            self.start()
            with psycopg.connect(self.url) as connection:
                connection.execute(f"ALTER ROLE {_USER} PASSWORD '{self.password}'".encode())
        except BaseException:
            self.close()
            raise

    def over_tcp(self, url: str, *, password: bool = True) -> str:
        """Turn a database's URL into one that goes by the port, with the password or without."""
        word = self.password if password else None
        return _render(make_url(url).set(host="127.0.0.1", password=word, query={}))

    def set(self, **settings: str) -> None:
        """Change settings of the server, for the sessions that are there, too."""
        with psycopg.connect(
            self.url, autocommit=True, options="-c default_transaction_read_only=off"
        ) as connection:
            for name, value in settings.items():
                connection.execute(f"ALTER SYSTEM SET {name} = {value}".encode())
            connection.execute("SELECT pg_reload_conf()")

    @override
    def start(self) -> None:
        self._left_behind = False
        super().start()

    @override
    def stop(self, *, kill: bool = False) -> None:
        if kill:
            self._kill()
        else:
            super().stop()

    @override
    def close(self) -> None:
        if self._left_behind:
            self.start()
        super().close()

    def _kill(self) -> None:
        """Kill all of it at once: its other processes would tell their clients, or work on."""
        kill(self.pid, signal.SIGSTOP)
        others = children_of(self.pid)
        for pid in others:
            kill(pid)
        super().stop(kill=True)
        eventually(lambda: not any(map(is_alive, others)), what="all of the server is gone")
        # Only a server that starts takes away what a killed one has left in shared memory.
        self._left_behind = True

    def _make(self) -> None:
        words = ["--username", _USER, "--auth-local", "trust", "--auth-host", "scram-sha-256"]
        words += ["--encoding", "UTF8", "--no-locale", "--no-sync", "--pgdata", str(self._data)]
        done = subprocess.run(
            [self.programs / "initdb", *words],
            capture_output=True,
            text=True,
            check=False,
            **self.way,
        )
        assert done.returncode == 0, f"initdb: {done.stderr}"

    @override
    def _command(self) -> list[str]:
        words = [str(self.programs / "postgres"), "-D", str(self._data)]
        words += ["-k", str(self.folder), "-p", str(self.port)]
        return words + [f"--{name}={value}" for name, value in self._settings.items()]

    @override
    def _answers(self) -> bool:
        try:
            psycopg.connect(self.url).close()
        except psycopg.OperationalError:
            return False
        return True

    @override
    def _new_name(self) -> str:
        return f"orderly{next(self._numbers)}"

    @property
    def _data(self) -> Path:
        return self.folder / "data"


def _render(url: URL) -> str:
    return url.set(drivername="postgresql").render_as_string(hide_password=False)
