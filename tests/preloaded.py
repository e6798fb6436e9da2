"""The `orderly` command in copies of a process that has imported it: at a tenth of the price.

Starting Python and importing the command takes half a second of a processor, and the tests start it
a thousand times. Here one process imports all of it, and forks a copy of itself for each command: a
process like any other, with arguments, folder, environment, output and exit code of its own. Tests
of the command itself are marked `anew`, and start it as users do.
"""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
from contextlib import ExitStack
from importlib import import_module
from multiprocessing import util
from pathlib import Path

from services.__main__ import main

ROOT = Path(__file__).parent.parent
_WHAT_COMMANDS_IMPORT = (
    *("services.cli", "services.console", "services.status"),
    *("shared.ledger.explain", "shared.ledger.verify"),
    *("shared.ledger.postgres", "shared.ledger.sqlite", "psycopg"),
    *("services.run", "services.local", "services.scaled", "services.producer.synthetic"),
)
_NUMBER = struct.Struct("!i")


class Preloaded:
    """Runs commands in copies of one process, which ends with this one."""

    def __init__(self) -> None:
        self._ours, theirs = socket.socketpair()
        self._lock = threading.Lock()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.preloaded", str(theirs.fileno())],
                cwd=ROOT,
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )

    def run(
        self, arguments: list[str], folder: Path, environment: dict[str, str], within: float
    ) -> tuple[int, str, str]:
        """Run a command to its end; return exit code, output and errors.

        Raises:
            TimeoutExpired: It did not end in time, and was killed.
        """
        request = json.dumps([arguments, str(folder), environment]).encode()
        with ExitStack() as stack:
            out, err = (stack.enter_context(tempfile.TemporaryFile()) for _ in range(2))
            told, telling = os.pipe()
            stack.callback(os.close, told)
            with self._lock:
                fds = [out.fileno(), err.fileno(), telling]
                sent = socket.send_fds(self._ours, [_NUMBER.pack(len(request)) + request], fds)
                assert sent == _NUMBER.size + len(request)
            os.close(telling)
            pid = _next(told, within)
            try:
                code = _next(told, within)
            except subprocess.TimeoutExpired:
                os.kill(pid, signal.SIGKILL)
                raise
            out.seek(0)
            err.seek(0)
            return code, out.read().decode(), err.read().decode()

    def close(self) -> None:
        """Let the process go, and wait for it."""
        self._ours.close()
        self._process.wait(timeout=10)


def _next(told: int, within: float) -> int:
    """Read the next number that is told of a command: first its pid, then its exit code."""
    if not select.select([told], [], [], within)[0]:
        raise subprocess.TimeoutExpired("orderly", within)
    number: int = _NUMBER.unpack(os.read(told, _NUMBER.size))[0]
    return number


def _serve(requests: socket.socket) -> None:
    """Fork a copy for each request, until nobody is left to ask."""
    for name in _WHAT_COMMANDS_IMPORT:
        import_module(name)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for those that tell
    while True:
        head, fds, _, _ = socket.recv_fds(requests, _NUMBER.size, 3)
        if not head:
            return
        (length,) = _NUMBER.unpack(head)
        request = json.loads(requests.recv(length, socket.MSG_WAITALL))
        if os.fork() == 0:
            requests.close()
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            out, err, telling = fds
            pid = os.fork()
            if pid == 0:
                os.close(telling)
                _become(*request, standard={1: out, 2: err})
                return
            os.write(telling, _NUMBER.pack(pid))
            _, status = os.waitpid(pid, 0)
            os.write(telling, _NUMBER.pack(os.waitstatus_to_exitcode(status)))
            os._exit(0)
        for each in fds:
            os.close(each)


def _become(
    arguments: list[str], folder: str, environment: dict[str, str], *, standard: dict[int, int]
) -> None:
    """Be the command, as `python -m services` is."""
    for number, given in standard.items():
        os.dup2(given, number)
        os.close(given)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = ["orderly", *arguments]
    try:
        main()
    finally:
        # Where it is imported by the command, this runs before what the command has registered.
        util._exit_function()  # type: ignore[attr-defined]


if __name__ == "__main__":
    _serve(socket.socket(fileno=int(sys.argv[1])))
