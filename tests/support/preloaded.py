"""The `orderly` command in copies of a process that has imported it: at a tenth of the price.

Starting Python and importing the command takes half a second of a processor, and the tests start it
a thousand times. Here one process imports all of it, and forks a copy of itself for each command: a
process like any other, with arguments, folder, environment, pipes and exit code of its own. Tests
of the command itself are marked `anew`, and start it as users do.
"""

from __future__ import annotations

import atexit
import gc
import inspect
import json
import os
import select
import signal
import socket
import struct
import subprocess
import sys
import threading
from functools import cache
from importlib import import_module
from multiprocessing import util
from pathlib import Path
from typing import Any, AnyStr

from services.__main__ import main

ROOT = Path(__file__).parents[2]
_WHAT_COMMANDS_IMPORT = (
    *("services.cli.app", "services.cli.console", "shared.ledger.status"),
    *("shared.environment", "shared.ledger.explain", "shared.ledger.verification.verify"),
    *("shared.ledger.database.postgres", "shared.ledger.database.sqlite", "psycopg"),
    *(
        "services.run",
        "services.pipeline.local",
        "services.pipeline.redis",
        "services.producer.sources.synthetic",
    ),
    *("services.serve", "services.pay", "services.bank.server", "uvloop"),
)
_NUMBER = struct.Struct("!i")
_EXECUTED = inspect.getfullargspec(subprocess.Popen._execute_child).args[1:]  # type: ignore[attr-defined]


class Copy(subprocess.Popen[AnyStr]):
    """A command, as `subprocess.Popen` starts one; only that it is a copy.

    It is the child of a process that waits for it and passes its exit code on.
    """

    def _execute_child(self, *args: Any) -> None:
        given = dict(zip(_EXECUTED, args, strict=True))
        told, telling = os.pipe()
        pipes: list[int] = [given[name] for name in ("p2cread", "c2pwrite", "errwrite")]
        try:
            _preloaded().ask([given["args"], str(given["cwd"]), given["env"]], [*pipes, telling])
        finally:
            os.close(telling)
            ends = ("p2cread", "p2cwrite", "c2pread", "c2pwrite", "errread", "errwrite")
            self._close_pipe_fds(*(given[name] for name in ends))  # type: ignore[attr-defined]
        self._told = told
        self.pid = self._next()
        self._child_created = True

    def _internal_poll(self, **_: Any) -> int | None:
        if self.returncode is None and self._has_ended(0):
            return self._end()
        return self.returncode

    def _wait(self, timeout: float | None) -> int:
        if self.returncode is not None:
            return self.returncode
        if not self._has_ended(timeout):
            raise subprocess.TimeoutExpired(self.args, timeout or 0)
        return self._end()

    def _has_ended(self, timeout: float | None) -> bool:
        ear = select.poll()
        ear.register(self._told, select.POLLIN)
        return bool(ear.poll(None if timeout is None else max(0, timeout) * 1000))

    def _end(self) -> int:
        self.returncode = self._next()
        os.close(self._told)
        return self.returncode

    def _next(self) -> int:
        """Read the next number that is told of it: first its pid, then its exit code."""
        number: int = _NUMBER.unpack(os.read(self._told, _NUMBER.size))[0]
        return number


class _Preloaded:
    """The process that is copied, which ends with this one."""

    def __init__(self) -> None:
        self._ours, theirs = socket.socketpair()
        self._lock = threading.Lock()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.support.preloaded", str(theirs.fileno())],
                cwd=ROOT,
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )

    def ask(self, request: list[Any], fds: list[int]) -> None:
        """Have a copy made, with these for its input, output and errors, and to tell of it."""
        text = json.dumps(request).encode()
        with self._lock:
            sent = socket.send_fds(self._ours, [_NUMBER.pack(len(text)) + text], fds)
        assert sent == _NUMBER.size + len(text)

    def close(self) -> None:
        """Let the process go, and wait for it."""
        self._ours.close()
        self._process.wait(timeout=10)


@cache
def _preloaded() -> _Preloaded:
    """Start it, once for all tests."""
    process = _Preloaded()
    atexit.register(process.close)
    return process


def _serve(requests: socket.socket) -> None:
    """Fork a copy for each request, until nobody is left to ask."""
    for name in _WHAT_COMMANDS_IMPORT:
        import_module(name)
    # A copy that looked through all that is there, or freed it, would first have to copy it: that
    # costs ten times what most commands do.
    gc.collect()
    gc.freeze()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for those that tell
    while True:
        head, fds, _, _ = socket.recv_fds(requests, _NUMBER.size, 4)
        if not head:
            return
        (length,) = _NUMBER.unpack(head)
        request = json.loads(requests.recv(length, socket.MSG_WAITALL))
        if os.fork() == 0:
            requests.close()
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            *standard, telling = fds
            pid = os.fork()
            if pid == 0:
                os.close(telling)
                _become(*request, standard=standard)
                return
            for each in standard:
                os.close(each)
            os.write(telling, _NUMBER.pack(pid))
            _, status = os.waitpid(pid, 0)
            os.write(telling, _NUMBER.pack(os.waitstatus_to_exitcode(status)))
            os._exit(0)
        for each in fds:
            os.close(each)


def _become(
    arguments: list[str], folder: str, environment: dict[str, str], *, standard: list[int]
) -> None:
    """Be the command, as `python -m services` is."""
    os.setsid()
    for number, given in enumerate(standard):
        os.dup2(given, number)
        os.close(given)
    # As Python opens them at its start; the ones that were there remember other files.
    sys.stdin = open(0, encoding="utf-8", errors="surrogateescape", closefd=False)
    sys.stdout = open(1, "w", encoding="utf-8", errors="surrogateescape", closefd=False)
    sys.stderr = open(2, "w", 1, encoding="utf-8", errors="backslashreplace", closefd=False)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = ["orderly", *arguments]
    try:
        main()
    except SystemExit as end:
        if isinstance(end.code, int | None):
            _leave(end.code or 0)
        raise
    finally:
        # Where it is imported by the command, this runs before what the command has registered.
        util._exit_function()  # type: ignore[attr-defined]
    _leave(0)


def _leave(code: int) -> None:
    """End as Python does, but for taking itself apart, which nobody sees."""
    util._exit_function()  # type: ignore[attr-defined]
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except (OSError, ValueError):
        return  # Python has more to say of that
    os._exit(code)


if __name__ == "__main__":
    _serve(socket.socket(fileno=int(sys.argv[1])))
