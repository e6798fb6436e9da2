"""The `orderly` command as tests use it: real processes, a ledger of their own."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.support.eventually import eventually
from tests.support.preloaded import Copy
from tests.support.processes import is_alive
from tests.support.replay import FinalState, read_journal, replay

ROOT = Path(__file__).parents[2]
SAMPLE = ROOT / "examples" / "journey-orders.csv"
COMMAND = [sys.executable, "-m", "services"]


@dataclass
class Result:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@dataclass
class Orderly:
    """Runs commands against one ledger.

    Attributes:
        folder: Where they run.
        environment: What is set for them.
        anew: Whether every command is started as users do, rather than copied.
        started: Those that were started and may still run.
    """

    folder: Path
    environment: dict[str, str] = field(default_factory=dict)
    anew: bool = False
    started: list[subprocess.Popen[str]] = field(default_factory=list)

    @property
    def ledger(self) -> Path:
        return self.folder / "var" / "orderly.db"

    def start(self, *arguments: str | Path, **options: Any) -> subprocess.Popen[str]:
        """Start a command in a process group of its own and return at once."""
        options.setdefault("stdin", subprocess.DEVNULL)
        process = self._start([*map(str, arguments)], self._environment(), text=True, **options)
        self.started.append(process)
        return process

    def _start(
        self, words: list[str], environment: dict[str, str], **options: Any
    ) -> subprocess.Popen[Any]:
        kind: type[subprocess.Popen[Any]] = Copy
        if self.anew or not options.keys().isdisjoint({"command", "preexec_fn"}):
            kind, words = subprocess.Popen, [*options.pop("command", COMMAND), *words]
        options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | options
        return kind(words, cwd=self.folder, env=environment, start_new_session=True, **options)

    def close(self) -> None:
        """End what a failed test left running."""
        for process in self.started:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            with process:  # closes the pipes and waits
                pass

    def __call__(
        self,
        *arguments: str | Path,
        stdin: bytes | None = None,
        within: float = 90.0,
        **environment: str,
    ) -> Result:
        """Run a command to its end."""
        source = subprocess.DEVNULL if stdin is None else subprocess.PIPE
        given = self._environment() | environment
        with self._start([*map(str, arguments)], given, stdin=source) as process:
            try:
                out, err = process.communicate(stdin, timeout=within)
            except BaseException:
                os.killpg(process.pid, signal.SIGKILL)
                raise
        return Result(process.returncode, out.decode(), err.decode())

    def json(self, *arguments: str | Path, code: int = 0, **options: Any) -> Any:
        """Run a command with --json, and expect its exit code; ``options`` as of a call."""
        result = self(*arguments, "--json", **options)
        assert result.code == code, result
        return result.json

    def totals(self) -> dict[str, Any]:
        """The whole ledger's totals."""
        found = self.json("status")
        names = ("created", "paid", "declined", "dead", "open", "paid_amount")
        return {name: found[name] for name in names}

    def replay(self, **faults: Any) -> FinalState:
        """Replay what `orderly journal` prints."""
        result = self("journal")
        assert result.code == 0, result
        return replay(read_journal(result.out), **faults)

    def final_state(self) -> FinalState:
        """Read outcomes and balances straight from the ledger's tables."""
        final_state = FinalState()
        with sqlite3.connect(self.ledger) as connection:
            rows = connection.execute(
                "SELECT order_id, status FROM outcomes WHERE status <> 'retried'"
            ).fetchall()
            final_state.status = dict(rows)
            assert len(final_state.status) == len(rows), "an order has two outcomes"
            for account, balance in connection.execute(
                "SELECT account, balance FROM accounts WHERE kind = 'customer'"
            ):
                _, customer, currency = account.split("/")
                final_state.balance[customer, currency] = balance
            for currency, amount in connection.execute(
                "SELECT currency, amount FROM transfers WHERE order_id IS NOT NULL"
            ):
                final_state.taken[currency] = final_state.taken.get(currency, 0) + amount
        connection.close()
        return final_state

    def query(self, statement: str, *parameters: Any) -> list[tuple[Any, ...]]:
        """Ask the ledger's database, beside whoever uses it; nothing while it is being made."""
        if not self.ledger.exists():
            return []
        with contextlib.closing(sqlite3.connect(self.ledger, timeout=30)) as connection:
            try:
                return connection.execute(statement, parameters).fetchall()
            except sqlite3.OperationalError:
                return []

    def count(self, statement: str, *parameters: Any) -> int:
        """Ask for a number; 0 where there is none."""
        rows = self.query(statement, *parameters)
        return int(rows[0][0] or 0) if rows else 0

    def accepted(self) -> int:
        """Count what the journal has, without disturbing anybody."""
        return self.count("SELECT sum(number) FROM heads")

    def settled(self) -> int:
        """Count what the cursors have passed, without what waits there for its outcome."""
        return self.count("SELECT sum(number - pending) FROM cursors")

    def until_settled(self, goal: int) -> None:
        """Wait until so many orders have been settled."""
        eventually(lambda: self.settled() >= goal, within=60, what=f"{goal} are settled")

    def left_open(self) -> int:
        """Count what lies between heads and cursors, or waits, at one moment."""
        return self.count(
            "SELECT (SELECT sum(number) FROM heads) - (SELECT sum(number - pending) FROM cursors)"
        )

    def assert_serial(self, **faults: Any) -> FinalState:
        """Hold the ledger to the serial replay: every outcome, every balance, all money."""
        expected, found = self.replay(**faults), self.final_state()
        assert found == expected
        proof = self.json("verify")
        assert proof["ok"], proof
        assert {name: proof[name] for name in expected.totals()} == expected.totals()
        return found

    def _environment(self) -> dict[str, str]:
        inherited = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
        return inherited | {"PYTHONPATH": str(ROOT)} | self.environment


def finish(process: subprocess.Popen[str], *, within: float = 90) -> Result:
    """Wait for a started command's end."""
    out, err = process.communicate(timeout=within)
    return Result(process.returncode, out, err)


def assert_refused(result: Result, *words: str, code: int = 2) -> None:
    """Hold a command to an error that is told in a single line, and to no output."""
    assert (result.code, result.out) == (code, ""), result
    (told,) = result.err.splitlines()
    assert told.startswith("orderly: ")
    for word in words:
        assert word in told


def assert_one_line(result: Result, code: int, *words: str) -> None:
    """Hold a run to such an error, whatever it says beside."""
    told = Result(result.code, result.out, "\n".join(told_by(result.err)))
    assert_refused(told, *words, code=code)


def told_by(err: str) -> list[str]:
    """What a command says, without its progress, which comes every few seconds.

    Nor the warning of a server that syncs nothing to its disk, as the tests' own.
    """
    passed_over = re.compile(r'running: |.*"event": "the ledger\'s server may lose orders')
    return [line for line in err.splitlines() if not passed_over.match(line)]


def processes_of(group: int) -> list[int]:
    """List the live processes of a process group; zombies count."""
    return _processes(group, field=2)


def processes_of_session(session: int) -> list[int]:
    """List the live processes of a session; zombies count."""
    return _processes(session, field=3)


def children_of(parent: int) -> list[int]:
    """List the live children of a process; zombies count."""
    return _processes(parent, field=1)


def _processes(number: int, field: int) -> list[int]:
    """List the processes that have this number in a field behind their name in /proc."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/stat"):
        try:
            text = entry.read_text()
        except OSError:
            continue
        if int(text.rsplit(")", 1)[1].split()[field]) == number:
            found.append(int(text.split(" ", 1)[0]))
    return found


def workers_of(parent: int) -> list[int]:
    """List the payment workers that a process has started."""
    homes = {parent, *(pid for pid in children_of(parent) if _name_of(pid) == "orderly-fork")}
    return [
        pid
        for home in homes
        for pid in children_of(home)
        if is_alive(pid) and (_name_of(pid) == "orderly-worker" or _is_spawned(pid))
    ]


def fork_server_of(parent: int) -> int:
    """Find the process whose copies the workers of a process are."""
    (pid,) = (pid for pid in children_of(parent) if _name_of(pid) == "orderly-fork")
    return pid


def _name_of(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""


def _is_spawned(pid: int) -> bool:
    try:
        return b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


def kill(pid: int, number: int = signal.SIGKILL) -> None:
    """Send a signal to a process that may be gone already."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)
