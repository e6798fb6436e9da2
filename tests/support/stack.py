"""A stack of containers as tests use it: a compose project of their own, driven as a user would."""

from __future__ import annotations

import json
import os
import secrets
import socket
import subprocess
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from shared.settings import Settings
from tests.support.containers import ContainedOrderly, Shop
from tests.support.orderly import ROOT, Result

if TYPE_CHECKING:
    from pathlib import Path

PRODUCERS = {"local": "local", "redis": "producer"}
SERVICES = {
    "local": ("local",),
    "redis": ("redis", "postgres", "migrate", "producer", "payment", "bank"),
}
LASTING = {
    mode: tuple(name for name in names if name != "migrate") for mode, names in SERVICES.items()
}
# Each answers a line with a statement by a line of JSON, for as long as it is asked.
_SQLITE = """
import json, sqlite3, sys
for statement in sys.stdin:
    connection = sqlite3.connect("file:var/orderly.db?mode=ro", uri=True)
    print(json.dumps(connection.execute(statement).fetchall()), flush=True)
    connection.close()
"""
_PSQL = ("psql", "-U", "orderly", "-At", "-v", "ON_ERROR_STOP=1")
_AS_JSON = "SELECT replace(coalesce(json_agg(row), '[]')::text, E'\\n', '') FROM ({}) AS row;"


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
        self.shop = Shop(self)
        self._asked: dict[tuple[str, ...], subprocess.Popen[str]] = {}

    @property
    def secrets(self) -> Path:
        """The folder with its passwords."""
        return ROOT / ".secrets" / self.project

    @property
    def producer(self) -> str:
        """The service that takes orders in."""
        return PRODUCERS[self.mode]

    def up(self, **given: str) -> Result:
        """Run `make up`, which must succeed, and connect to what it says."""
        result = self.make("up", **given)
        assert result.code == 0, result
        self.shop.connect()
        return result

    def start(self, *services: str) -> None:
        """Start services that were stopped or killed, and wait until they are healthy."""
        options = ("--detach", "--no-build", "--no-recreate", "--no-deps", "--wait")
        result = self.compose("up", *options, *services)
        assert result.code == 0, result

    def make(self, *arguments: str, **given: str) -> Result:
        """Run `make` with these variables in the environment, to its end."""
        return self._run(["make", "-s", *arguments], given=given, within=180)

    def compose(self, *arguments: str, **given: str) -> Result:
        """Run `docker compose` with these variables in the environment, to its end."""
        return self._run([*self._compose, *arguments], given=given)

    def docker(self, *arguments: str) -> Result:
        """Run `docker`, which must succeed."""
        result = self._run(["docker", *arguments])
        assert result.code == 0, result
        return result

    def inside(self, service: str, *command: str, stdin: bytes = b"", within: float = 90) -> Result:
        """Run a command in a service's first container, to its end."""
        return self._run(
            [*self._compose, "exec", "-T", service, *command], stdin=stdin, within=within
        )

    def python(self, service: str, program: str, *arguments: str) -> Result:
        """Run a program in a container of the project's own image."""
        return self.inside(service, "python", "-c", program, *arguments)

    def run(self, *arguments: str) -> subprocess.Popen[str]:
        """Start `orderly run` in the container that takes orders in, with a pipe for its input."""
        workers = [] if self.mode == "local" else ["--workers", "0"]
        return subprocess.Popen(
            [
                *(*self._compose, "exec", "-T", self.producer),
                *("orderly", "run", *arguments, *workers, "--json"),
            ],
            cwd=ROOT,
            env=self.environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def ids(self, service: str, *, gone: bool = False) -> list[str]:
        """Name the containers of a service: those that run, or those that have ended, too."""
        labels = [f"project={self.project}", f"service={service}"]
        filters = [word for each in labels for word in ("-f", f"label=com.docker.compose.{each}")]
        return self.docker("ps", "-q", *(["-a"] if gone else []), *filters).out.split()

    def inspect(self, service: str) -> list[dict[str, Any]]:
        """Describe a service's containers, those that have ended, too."""
        found: list[dict[str, Any]] = self.docker("inspect", *self.ids(service, gone=True)).json
        return found

    def query(self, statement: str) -> list[tuple[Any, ...]]:
        """Ask the ledger's database, which only its container can."""
        if self.mode == "local":
            asked = self._ask((self.producer, "python", "-c", _SQLITE), statement)
            return [tuple(row) for row in asked]
        asked = self._ask(("postgres", *_PSQL), _AS_JSON.format(statement))
        return [tuple(row.values()) for row in asked]

    def close(self) -> None:
        """Take everything down, and see that nothing is left."""
        self.shop.client.close()
        for each in self._asked.values():
            hang_up(each)
        result = self.make("reset", YES="1")
        assert result.code == 0, result
        assert not self.leftovers()

    def leftovers(self) -> list[str]:
        """List what there is of the project."""
        label = f"label=com.docker.compose.project={self.project}"
        found = [str(path) for path in self.secrets.parent.glob(f"{self.project}*")]
        for listing in (["ps", "-aq"], ["volume", "ls", "-q"], ["network", "ls", "-q"]):
            found += self.docker(*listing, "--filter", label).out.split()
        return found

    def _ask(self, command: tuple[str, ...], line: str) -> list[Any]:
        """Put a line to a program in a container, which stays there for the next one."""
        for _ in range(2):  # it may have ended with its container, or its server
            asked = self._asked.get(command) or self._exec(*command)
            self._asked[command] = asked
            assert asked.stdin is not None
            assert asked.stdout is not None
            with suppress(BrokenPipeError):
                asked.stdin.write(" ".join(line.split()) + "\n")
                asked.stdin.flush()
                if answer := asked.stdout.readline():
                    found: list[Any] = json.loads(answer)
                    return found
            hang_up(self._asked.pop(command))
        raise AssertionError(f"no answer to {line}")

    def _exec(self, service: str, *command: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [*self._compose, "exec", "-T", service, *command],
            cwd=ROOT,
            env=self.environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    @property
    def _compose(self) -> list[str]:
        return ["docker", "compose", "--profile", self.mode]

    def _run(
        self,
        command: list[str],
        *,
        given: dict[str, str] | None = None,
        stdin: bytes = b"",
        within: float = 90,
    ) -> Result:
        done = subprocess.run(
            command,
            cwd=ROOT,
            env=self.environment | (given or {}),
            input=stdin,
            capture_output=True,
            timeout=within,
            check=False,
        )
        return Result(done.returncode, done.stdout.decode(), done.stderr.decode())


def clean_environment() -> dict[str, str]:
    """This process's environment without what would set up Orderly, Compose or make otherwise."""
    ours = {name.upper() for name in Settings.model_fields} | {"N", "SEED", "YES", "MFLAGS"}
    return {
        name: value
        for name, value in os.environ.items()
        if name not in ours and not name.startswith(("COMPOSE_", "MAKE"))
    }


def free_port() -> int:
    """Find a port that nobody has at present."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def hang_up(asked: subprocess.Popen[str]) -> None:
    """End a program that answers lines."""
    with suppress(BrokenPipeError):
        asked.communicate(timeout=30)


def finish(run: subprocess.Popen[str], *, within: float = 120) -> dict[str, Any]:
    """Wait for a run's end, which must be a good one; return its report."""
    out, err = run.communicate(timeout=within)
    assert run.returncode == 0, (run.returncode, out, err)
    report: dict[str, Any] = json.loads(out)
    return report
