"""A PostgreSQL server of the tests' own: no network, no durability, gone at the end."""

from __future__ import annotations

import itertools
import os
import pwd
import shutil
import subprocess
import tempfile
from pathlib import Path

import psycopg

from tests.eventually import eventually

_USER = "postgres"


class Postgres:
    """A server that listens on a socket in a folder of its own."""

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="orderly-pg-"))
        # The server refuses to be root, so what it needs belongs to somebody else.
        self._owner = _USER if os.getuid() == 0 else pwd.getpwuid(os.getuid()).pw_name
        shutil.chown(self._folder, self._owner)
        data = self._folder / "data"
        self._run("initdb", "-D", data, "-U", _USER, "--auth", "trust", "--no-sync", "-E", "UTF8")
        settings = ["listen_addresses=", "fsync=off", "full_page_writes=off", "max_connections=200"]
        options = [word for each in settings for word in ("-c", each)]
        with (self._folder / "log").open("w") as log:
            self._server = subprocess.Popen(
                [_program("postgres"), "-D", str(data), "-k", str(self._folder), *options],
                user=self._owner,
                stdout=log,
                stderr=log,
            )
        self._numbers = itertools.count(1)
        eventually(self._answers, within=30, what="the server answers")

    def new_database(self) -> str:
        """Make an empty database; return its URL."""
        name = f"orderly{next(self._numbers)}"
        with self._connect() as connection:
            connection.execute(f"CREATE DATABASE {name}".encode())
        return f"postgresql://{_USER}@/{name}?host={self._folder}"

    def empty(self, url: str) -> None:
        """Take everything out of a database, which is quicker than making another one."""
        with psycopg.connect(url) as connection:
            connection.execute("DROP SCHEMA public CASCADE")
            connection.execute("CREATE SCHEMA public")

    def close(self) -> None:
        """End it, and remove everything."""
        self._server.terminate()
        self._server.wait()
        shutil.rmtree(self._folder)

    def _connect(self) -> psycopg.Connection:
        return psycopg.connect(
            host=str(self._folder), user=_USER, dbname="postgres", autocommit=True
        )

    def _answers(self) -> bool:
        try:
            self._connect().close()
        except psycopg.OperationalError:
            assert self._server.poll() is None, (self._folder / "log").read_text()
            return False
        return True

    def _run(self, program: str, *arguments: object) -> None:
        subprocess.run(
            [_program(program), *map(str, arguments)],
            user=self._owner,
            check=True,
            capture_output=True,
        )


def _program(name: str) -> str:
    """Find a program of PostgreSQL, which Debian keeps out of the path."""
    places = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), reverse=True)
    found = shutil.which(name) or next(map(str, places), None)
    assert found, "PostgreSQL is not installed (on Debian: apt install postgresql)"
    return found
