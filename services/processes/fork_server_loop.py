"""Inside the fork server: waits to be asked, makes copies of itself, tells how each of them ended.

For every copy there is a pipe: what comes out of it is first its number, or why there is none, and
later how it ended. What the copy is to do comes through a pipe of its own, as it does to a new
interpreter.
"""

from __future__ import annotations

import atexit
import gc
import os
import selectors
import signal
import socket
import struct
from contextlib import suppress
from multiprocessing import resource_tracker, spawn, util
from pathlib import Path
from typing import NoReturn

from services.processes.child import call_it, end_with_parent
from services.processes.signals import OF_TERMINALS

NUMBER = struct.Struct("!i")
"""A process's number or exit code; below zero an error's number, or that of a signal."""

_MOST_DESCRIPTORS = 64

given: list[int] = []
"""In a copy: the descriptors that it was given."""


def live(line: socket.socket, parent: int) -> NoReturn:
    """Be the fork server, until its parent is gone."""
    try:
        end_with_parent(parent)
        call_it("orderly-fork")
        _forget_parent({0, 1, 2, line.fileno()})
        gc.freeze()  # nobody writes to what is shared
        _Server(line).run()
    finally:
        os._exit(0)


def _forget_parent(kept: set[int]) -> None:
    """Let go of what belongs to the parent: its signals, its input and its open files."""
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # sent to a whole group it is for the parent
    for number in (signal.SIGCONT, *OF_TERMINALS):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    for entry in list(Path("/proc/self/fd").iterdir()):
        if int(entry.name) not in kept:
            with suppress(OSError):  # the one that listed them is closed by now
                os.close(int(entry.name))


class _Server:
    """Makes copies, and tells how each of them ended."""

    def __init__(self, line: socket.socket) -> None:
        self._line = line
        self._selector = selectors.DefaultSelector()
        self._telling: dict[int, int] = {}
        self._ear, self._mouth = os.pipe()
        os.set_blocking(self._ear, False)
        os.set_blocking(self._mouth, False)

    def run(self) -> None:
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(self._mouth, warn_on_full_buffer=False)
        self._selector.register(self._line, selectors.EVENT_READ)
        self._selector.register(self._ear, selectors.EVENT_READ)
        while True:
            ready = {key.fileobj for key, _ in self._selector.select()}
            if self._ear in ready:
                self._reap()
            if self._line in ready:
                asked, fds, _, _ = socket.recv_fds(self._line, 1, _MOST_DESCRIPTORS)
                if not asked:
                    return
                self._copy(*fds)

    def _reap(self) -> None:
        os.read(self._ear, 4096)
        with suppress(ChildProcessError):
            while (ended := os.waitpid(-1, os.WNOHANG))[0]:
                telling = self._telling.pop(ended[0])
                _tell(telling, os.waitstatus_to_exitcode(ended[1]))
                os.close(telling)

    def _copy(self, telling: int, *fds: int) -> None:
        fork_server = os.getpid()
        try:
            pid = os.fork()
        except OSError as error:
            _tell(telling, -(error.errno or 1))
            os.close(telling)
        else:
            if pid == 0:
                os.close(telling)
                self._become(fork_server, *fds)
            _tell(telling, pid)
            self._telling[pid] = telling
        for fd in fds:
            os.close(fd)

    def _become(self, fork_server: int, task: int, tracker: int, *fds: int) -> NoReturn:
        """Be the worker that was asked for."""
        code = 1
        try:
            # First that of which others wait for the end.
            for fd in (*self._telling.values(), self._line.fileno(), self._ear, self._mouth):
                os.close(fd)
            end_with_parent(fork_server)
            call_it("orderly-worker")
            self._selector.close()
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            given[:] = fds
            # What follows is as in multiprocessing's own fork server: its end is its own.
            atexit._clear()
            atexit.register(util._exit_function)  # type: ignore[attr-defined]
            resource_tracker._resource_tracker._fd = tracker  # type: ignore[attr-defined]
            code = spawn._main(task, os.dup(task))
            atexit._run_exitfuncs()
        finally:
            os._exit(code)


def _tell(telling: int, number: int) -> None:
    with suppress(BrokenPipeError):
        os.write(telling, NUMBER.pack(number))
