"""Redis servers: one of the tests' own, or one that is given in `REDIS_URL`."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import redis

from tests.support.servers.daemon import Daemon, free_port
from tests.support.servers.programs import ServerMissing, redis_program

_SETTINGS = """
bind 127.0.0.1
port {port}
dir {folder}
save ""
# Written before the answer, so that a killed server has it again: the machine itself stays up.
appendonly yes
appendfsync no
"""


class Redis:
    """A server with keys of tests in it.

    Attributes:
        url: Where it is, with the password that it asks for.
    """

    url: str


class GivenRedis(Redis):
    """A server that somebody else runs, with data of theirs in it: empty none of it."""

    def __init__(self, url: str) -> None:
        self.url = url
        try:
            with redis.Redis.from_url(url) as client:
                client.ping()
        except redis.ConnectionError as error:
            raise ServerMissing(f"REDIS_URL: {error}") from None

    def close(self) -> None:
        """Leave it alone."""


class RedisServer(Redis, Daemon):
    """A server on a port of this machine.

    Args:
        password: What it asks its clients for; empty for nothing.
        more: More lines for its configuration.

    Attributes:
        port: Where it listens, or did.
    """

    def __init__(self, *, password: str = "", more: str = "") -> None:
        program = redis_program()
        super().__init__("redis")
        self.port = free_port()
        self.url = f"redis://:{quote(password, safe='')}@127.0.0.1:{self.port}/0"
        if not password:
            self.url = f"redis://127.0.0.1:{self.port}/0"
        self._words = [str(program), str(self.folder / "redis.conf")]
        settings = _SETTINGS.format(port=self.port, folder=self.folder)
        if password:
            escaped = password.replace("\\", r"\\").replace('"', r"\"")
            settings += f'requirepass "{escaped}"\n'
        (self.folder / "redis.conf").write_text(f"{settings}{more}\n")
        self.start()

    def empty(self) -> None:
        """Take everything out."""
        with redis.Redis.from_url(self.url) as client:
            client.flushall()

    def ask(self, *command: str) -> Any:
        """Give it a command of its operator's."""
        with redis.Redis.from_url(self.url) as client:
            return client.execute_command(*command)

    def _command(self) -> list[str]:
        return self._words

    def _answers(self) -> bool:
        try:
            with redis.Redis.from_url(self.url, retry=None) as client:
                # Somebody else may have got the port, and answer as well.
                return bool(client.info("server")["process_id"] == self.pid)
        except redis.ConnectionError:
            return False
