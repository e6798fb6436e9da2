"""A stack of containers as tests use it: a compose project of their own, driven as a user would."""

from __future__ import annotations

import json
import os
import secrets
import signal
import socket
import subprocess
from typing import TYPE_CHECKING, Any

import httpx

from shared.settings import Settings
from tests.eventually import eventually
from tests.orderly import ROOT, Orderly, Result
from tests.replay import Books
from tests.server import Server

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

DOORS = {"local": "local", "redis": "producer"}
SERVICES = {
    "local": ("local",),
    "redis": ("redis", "postgres", "migrate", "producer", "payment"),
}
LASTING = {mode: tuple(name for name in names if name != "migrate") for mode, names in SERVICES.items()}
_QUERY = """
import sqlite3, sys
for row in sqlite3.connect("file:var/orderly.db?mode=ro", uri=True).execute(sys.argv[1]):
    print(*row, sep="\\t")
"""


class Stack:
    """One compose project; nothing of it is left when it is closed.

    Args:
        mode: QUEUE_MODE of `make up`.
        environment: More variables for every command.

    Attributes:
        project: Its name, which nobody else has.
        port: Where it answers on 127.0.0.1.
        environment: What commands are given; tests may change it.
        orderly: The command, run in the container that takes orders in.
        shop: Its HTTP service.
    """

    def __init__(self, mode: str, **environment: str) -> None:
        self.mode = mode
        self.project = f"orderly-e2e-{mode}-{secrets.token_hex(3)}"
        self.port = free_port()
        self.environment = clean_environment() | {
            "QUEUE_MODE": mode,
            "COMPOSE_PROJECT_NAME": self.project,
            "ORDERLY_IMAGE": "orderly:e2e",
            "HTTP_PORT": str(self.port),
            **environment,
        }
        self.orderly = ContainedOrderly(self)
        self.shop = Server(self.orderly)

    @property
    def secrets(self) -> Path:
        """The folder with its passwords."""
        return ROOT / ".secrets" / self.project

    @property
    def door(self) -> str:
        """The service that takes orders in."""
        return DOORS[self.mode]

    def up(self, **environment: str) -> Result:
        """Run `make up`, which must succeed, and connect to what it says."""
        result = self.make("up", **environment)
        assert result.code == 0, result
        self.shop.client.close()
        self.shop.port, self.shop.url = self.port, f"http://127.0.0.1:{self.port}"
        self.shop.client = httpx.Client(base_url=self.shop.url, timeout=30, trust_env=False)
        return result

    def make(
        self, *arguments: str, stdin: bytes = b"", within: float = 180, **environment: str
    ) -> Result:
        """Run `make`, to its end."""
        return self.run("make", "-s", *arguments, stdin=stdin, within=within, **environment)

    def compose(
        self, *arguments: str, stdin: bytes = b"", within: float = 90, **environment: str
    ) -> Result:
        """Run `docker compose`, to its end."""
        command = ["docker", "compose", "--profile", self.mode]
        return self.run(*command, *arguments, stdin=stdin, within=within, **environment)

    def run(
        self, *command: str, stdin: bytes = b"", within: float = 90, **environment: str
    ) -> Result:
        """Run a command in the checkout, to its end."""
        done = subprocess.run(
            command,
            cwd=ROOT,
            env=self.environment | environment,
            input=stdin,
            capture_output=True,
            timeout=within,
            check=False,
        )
        return Result(done.returncode, done.stdout.decode(), done.stderr.decode())

    def ids(self, service: str, *, gone: bool = False) -> list[str]:
        """Name the containers of a service: those that run, or those that have ended, too."""
        return self.docker("ps", "-q", *(["-a"] if gone else []), *self._labels(service))

    def docker(self, *arguments: str) -> list[str]:
        """Run `docker`, which must succeed; return what it printed, by words."""
        result = self.run("docker", *arguments)
        assert result.code == 0, result
        return result.out.split()

    def inspect(self, service: str) -> list[dict[str, Any]]:
        """Describe a service's containers, those that have ended, too."""
        result = self.run("docker", "inspect", *self.ids(service, gone=True))
        assert result.code == 0, result
        found: list[dict[str, Any]] = result.json
        return found

    def inside(self, service: str, *command: str) -> Result:
        """Run a command in a service's first container."""
        return self.compose("exec", "-T", service, *command)

    def python(self, service: str, program: str, *arguments: str) -> Result:
        """Run a program in a container of the project's own image."""
        return self.inside(service, "python", "-c", program, *arguments)

    def query(self, statement: str) -> list[list[str]]:
        """Ask the ledger's database, which only its container can."""
        if self.mode == "local":
            result = self.python(self.door, _QUERY, statement)
        else:
            psql = ["psql", "-U", "orderly", "-At", "-F", "\t", "-c", statement]
            result = self.inside("postgres", *psql)
        assert result.code == 0, result
        return [line.split("\t") for line in result.out.splitlines()]

    def settled(self) -> int:
        """Count the orders that are not open any more."""
        found = self.shop.client.get("/status").json()
        return int(found["created"] - found["open"])

    def producing(self, *arguments: str) -> AbstractContextManager[subprocess.Popen[str]]:
        """Start `orderly run` in the container that takes orders in, and do not wait for it."""
        command = ["docker", "compose", "--profile", self.mode, "exec", "-T", self.door]
        workers = [] if self.mode == "local" else ["--workers", "0"]
        return subprocess.Popen(
            [*command, "orderly", "run", *arguments, *workers, "--json"],
            cwd=ROOT,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def close(self) -> None:
        """Take everything down, and see that nothing is left."""
        self.shop.client.close()
        result = self.make("reset", YES="1")
        assert result.code == 0, result
        assert not self.leftovers()

    def leftovers(self) -> list[str]:
        """List what there is of the project."""
        label = f"label=com.docker.compose.project={self.project}"
        found = [
            *self.docker("ps", "-aq", "--filter", label),
            *self.docker("volume", "ls", "-q", "--filter", label),
            *self.docker("network", "ls", "-q", "--filter", label),
        ]
        return [*found, *map(str, self.secrets.parent.glob(f"{self.project}*"))]

    def _labels(self, service: str) -> Iterator[str]:
        for name, value in (("project", self.project), ("service", service)):
            yield from ("--filter", f"label=com.docker.compose.{name}={value}")


class ContainedOrderly(Orderly):
    """The command as a user runs it: in the container that takes orders in."""

    def __init__(self, stack: Stack) -> None:
        super().__init__(ROOT)
        self._stack = stack

    def _run(
        self,
        arguments: tuple[str | Path, ...],
        stdin: bytes | None,
        within: float,
        environment: dict[str, str],
    ) -> Result:
        given = [word for item in environment.items() for word in ("-e", "=".join(item))]
        command = ["exec", "-T", *given, self._stack.door, "orderly", *map(str, arguments)]
        return self._stack.compose(*command, stdin=stdin or b"", within=within)

    def books(self) -> Books:
        """Read outcomes and balances straight from the ledger's tables."""
        books = Books()
        rows = self._stack.query("SELECT order_id, status FROM outcomes WHERE status <> 'retried'")
        books.status = {order_id: status for order_id, status in rows}
        assert len(books.status) == len(rows), "an order has two outcomes"
        for account, balance in self._stack.query(
            "SELECT account, balance FROM accounts WHERE kind = 'customer'"
        ):
            _, customer, currency = account.split("/")
            books.balance[customer, currency] = int(balance)
        for currency, amount in self._stack.query(
            "SELECT currency, amount FROM transfers WHERE order_id IS NOT NULL"
        ):
            books.taken[currency] = books.taken.get(currency, 0) + int(amount)
        return books


def clean_environment() -> dict[str, str]:
    """This process's environment without what would set up Orderly or Compose in another way."""
    ours = {name.upper() for name in Settings.model_fields} | {"N", "SEED", "YES", "MAKEFLAGS"}
    return {
        name: value
        for name, value in os.environ.items()
        if name not in ours and not name.startswith("COMPOSE_")
    }


def free_port() -> int:
    """Find a port that nobody has at present."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def finish(run: subprocess.Popen[str], *, within: float = 120) -> dict[str, Any]:
    """Wait for a run's end, which must be a good one; return its report."""
    out, err = run.communicate(timeout=within)
    assert run.returncode == 0, (run.returncode, out, err)
    report: dict[str, Any] = json.loads(out)
    return report
