"""A server as a process of the tests: it starts, stops, starts again, and never outlives them."""

from __future__ import annotations

import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
from abc import ABC, abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.support.eventually import eventually
from tests.support.orderly import ROOT
from tests.support.servers import watchdog

if TYPE_CHECKING:
    from tests.support.servers.account import Account


class Daemon(ABC):
    """One server; its folder is removed with it.

    Args:
        name: What the folder is named after.
        account: Whose process it is, if not the tests' own user's.

    Attributes:
        graceful: The signal for an end in good order.
        immediate: The signal for an end at once that still leaves nothing behind.
    """

    graceful = signal.SIGTERM
    immediate = signal.SIGKILL

    def __init__(self, name: str, account: Account | None = None) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix=f"orderly-{name}-", dir=_parent(account)))
        self.account = account
        if account:
            account.give(self.folder)
        self._process: subprocess.Popen[bytes] | None = None
        # In a session of its own, so that Ctrl-C on a terminal does not end it.
        self._watchdog = subprocess.Popen(
            [sys.executable, "-S", "-m", watchdog.__name__, self.folder, str(int(self.immediate))],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    @property
    def is_running(self) -> bool:
        """Whether it was started and not stopped since."""
        return self._process is not None

    @property
    def pid(self) -> int:
        """The server's process, while it runs."""
        assert self._process is not None, "it does not run"
        return self._process.pid

    def start(self) -> None:
        """Start it where it was before, and wait until it answers; else it is closed."""
        assert self._process is None, "it runs already"
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(self._command(), stdout=log, stderr=log, **self.way)
        try:
            self._monitor(self.pid)
            eventually(self._is_up, within=30, what="the server answers")
        except BaseException:
            self.close()
            raise

    def stop(self, *, kill: bool = False) -> None:
        """End it, and wait for that.

        Args:
            kill: With SIGKILL, as if the machine were gone; nobody is told.
        """
        self._end(signal.SIGKILL if kill else self.graceful)

    def restart(self, *, kill: bool = False) -> None:
        """End it, and start it at the same address with all its data."""
        self.stop(kill=kill)
        self.start()

    def close(self) -> None:
        """End it if it runs, and remove everything."""
        if self._process is not None:
            self._end(self.immediate)
        assert self._watchdog.stdin is not None
        self._watchdog.stdin.close()
        self._watchdog.wait(timeout=30)

    @property
    def way(self) -> dict[str, Any]:
        """How its processes are started: free of whatever the tests were started with."""
        words = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
        return {
            "cwd": self.folder,
            "env": words | {"LC_ALL": "C"},
            "stdin": subprocess.DEVNULL,
            "start_new_session": True,
            **(self.account.options if self.account else {}),
        }

    @abstractmethod
    def _command(self) -> list[str]:
        """Say what to run."""

    @abstractmethod
    def _answers(self) -> bool:
        """Whether it takes connections."""

    def _is_up(self) -> bool:
        assert self._process is not None
        code = self._process.poll()
        assert code is None, f"it ended with {code}: {self._log.read_text(errors='replace')}"
        return self._answers()

    def _end(self, number: int) -> None:
        assert self._process is not None, "it does not run"
        self._process.send_signal(number)
        self._process.wait(timeout=30)
        self._process = None
        self._monitor(0)

    def _monitor(self, pid: int) -> None:
        assert self._watchdog.stdin is not None
        self._watchdog.stdin.write(b"%d\n" % pid)
        self._watchdog.stdin.flush()

    @property
    def _log(self) -> Path:
        return self.folder / "log"


def free_port() -> int:
    """Find a port that nobody else will get while the server is away.

    Systems give outgoing connections ports from 32768 on, so one of those could be taken when the
    server comes back, by a client that even connects to itself.
    """
    while True:
        port = 10_000 + secrets.randbelow(20_000)
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        return port


def _parent(account: Account | None) -> str | None:
    """Choose where its folder goes: not below one that another user may not enter."""
    usual = Path(tempfile.gettempdir()).resolve()
    if account is None or all(each.stat().st_mode & 0o001 for each in (usual, *usual.parents)):
        return None
    return next(each for each in ("/tmp", "/var/tmp") if os.access(each, os.W_OK))  # noqa: S108
