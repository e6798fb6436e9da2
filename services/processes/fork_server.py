"""Where workers come from: copies of a process that has imported what they need.

To start an interpreter and to import takes half a second of a processor, and a copy takes some
milliseconds. Only a process without threads can be copied safely, so the fork server is one that
does nothing else: it is forked before this process starts its first thread, and waits to be asked.

It ends with its parent, and its workers end with it: the kernel sees to both. If it is lost, or
where fork is not to be trusted (macOS), workers are started as new interpreters.
"""

from __future__ import annotations

import atexit
import io
import os
import select
import signal
import socket
import sys
import time
from contextlib import suppress
from importlib import import_module
from multiprocessing import (
    context,
    popen_fork,
    popen_spawn_posix,
    reduction,
    resource_tracker,
    spawn,
    util,
)
from pathlib import Path
from typing import TYPE_CHECKING

from services.processes.fork_server_loop import NUMBER, given, live
from services.processes.signals import withheld

if TYPE_CHECKING:
    from collections.abc import Sequence
    from multiprocessing.process import BaseProcess

ANSWER_SECONDS = 5.0
"""How long it may take to make a copy, or to tell of a death; one that was stopped never would."""

ADOPTION_SECONDS = 1.0

_KILLED = -int(signal.SIGKILL)


class _Lost(Exception):
    """The fork server is no more."""


class ForkServer:
    """The one that a process has, or has not."""

    def __init__(self) -> None:
        self._pid: int | None = None
        self._line: socket.socket | None = None

    def open(self, modules: Sequence[str]) -> None:
        """Import what workers need, and fork it; call it before there are threads."""
        for name in modules:
            import_module(name)
        if sys.platform != "linux" or self._pid is not None or not _is_alone():
            return
        with withheld([signal.SIGHUP]):  # it would be a closed terminal's first victim
            resource_tracker.ensure_running()
        ours, theirs = socket.socketpair()
        parent = os.getpid()
        with withheld(), theirs:  # from a terminal nothing is for it
            self._pid = os.fork()
            if self._pid == 0:
                live(theirs, parent)
        self._line = ours
        atexit.register(self.close)

    def copy(self, fds: list[int]) -> int:
        """Have a copy made, which gets these descriptors; return where it tells of itself.

        Raises:
            _Lost: There is no fork server.
        """
        if self._line is None:
            raise _Lost
        status, telling = os.pipe()
        try:
            socket.send_fds(self._line, [b"\0"], [telling, *fds])
        except OSError:
            os.close(status)
            self.close()
            raise _Lost from None
        finally:
            os.close(telling)
        return status

    def close(self) -> None:
        """End it, and its workers with it; reap it."""
        line, pid = self._line, self._pid
        self._line = self._pid = None
        if line is None or pid is None:
            return
        line.close()
        copies = _children_of(pid)  # one that was stopped at its first step does not end by itself
        for each in (pid, *copies):
            with suppress(ProcessLookupError):
                os.kill(each, signal.SIGKILL)
        with suppress(ChildProcessError):
            os.waitpid(pid, 0)

    @property
    def is_gone(self) -> bool:
        """Whether there is none that could tell how a copy has ended."""
        return self._line is None


_fork_server = ForkServer()
open_fork_server = _fork_server.open


class WorkerProcess(context.SpawnProcess):
    """A process that is a copy from the fork server, or a new interpreter where there is none."""

    @staticmethod
    def _Popen(process: BaseProcess) -> popen_fork.Popen:  # type: ignore[override]  # noqa: N802
        with suppress(_Lost):
            return _Copy(process)
        return popen_spawn_posix.Popen(process)


def reap(process: BaseProcess) -> None:
    """Wait for a process that was killed; a fork server that does not tell of it is ended."""
    process.join(ANSWER_SECONDS)
    if process.is_alive():
        _fork_server.close()
        process.join(ANSWER_SECONDS)


class _Copy(popen_fork.Popen):
    """How multiprocessing sees a copy: what it is to do is sent to it, as to a new interpreter."""

    method = "orderly-fork"

    class DupFd:
        """A descriptor on its way."""

        def __init__(self, index: int) -> None:
            self._index = index

        def detach(self) -> int:
            return given[self._index]

    def __init__(self, process: BaseProcess) -> None:
        self._fds: list[int] = []
        super().__init__(process)

    def duplicate_for_child(self, fd: int) -> int:
        """Have a descriptor sent along."""
        self._fds.append(fd)
        return len(self._fds) - 1

    def _launch(self, process: BaseProcess) -> None:
        task = io.BytesIO()
        context.set_spawning_popen(self)  # type: ignore[arg-type]
        try:
            reduction.dump(spawn.get_preparation_data(process.name), task)
            reduction.dump(process, task)
        finally:
            context.set_spawning_popen(None)
        reading, writing = os.pipe()
        try:
            self.sentinel = _fork_server.copy([reading, _tracker(), *self._fds])
        except BaseException:
            os.close(writing)
            raise
        finally:
            os.close(reading)
        # The other end of what it reads is how the copy sees that this process lives.
        self.finalizer = util.Finalize(self, _close, (self.sentinel, os.dup(writing)))
        with suppress(BrokenPipeError), os.fdopen(writing, "wb") as out:
            out.write(task.getbuffer())
        number = self._hear(ANSWER_SECONDS)
        if number is None or number == _KILLED:
            _fork_server.close()
            raise _Lost
        if number < 0:
            raise OSError(-number, os.strerror(-number))
        self.pid = number

    def poll(self, flag: int = os.WNOHANG) -> int | None:
        """Return the exit code, once there is one."""
        if self.returncode is None:
            self.returncode = self._hear(0 if flag == os.WNOHANG else None)
            if self.returncode is None and _fork_server.is_gone and _has_ended(self.pid):
                # Its end of the pipe may be held by a copy that was stopped before it let go.
                self.returncode = _KILLED
            if self.returncode == _KILLED:
                _adopt(self.pid)
        return self.returncode

    def _hear(self, timeout: float | None) -> int | None:
        """Hear a number from the fork server; who hears of its end hears of that of its workers."""
        ear = select.poll()
        ear.register(self.sentinel, select.POLLIN)
        if not ear.poll(None if timeout is None else timeout * 1000):
            return None
        told = os.read(self.sentinel, NUMBER.size)
        return int(NUMBER.unpack(told)[0]) if told else _KILLED


def _children_of(pid: int) -> list[int]:
    try:
        return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def _has_ended(pid: int) -> bool:
    """Whether there is no such process, or nothing of it but its number."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return True
    return stat.rpartition(")")[2].split()[0] in {"Z", "X"}


def _adopt(pid: int) -> None:
    """Reap a copy whose fork server is gone, if it is ours now: the first process gets them.

    It was killed, so it does not take long.
    """
    deadline = time.monotonic() + ADOPTION_SECONDS
    with suppress(ChildProcessError):
        while not os.waitpid(pid, os.WNOHANG)[0] and time.monotonic() < deadline:
            time.sleep(ADOPTION_SECONDS / 100)


def _tracker() -> int:
    """The descriptor of the process that tidies up after multiprocessing."""
    return int(resource_tracker.getfd() or 0)  # it has been started, if it was not there


def _close(*fds: int) -> None:
    for fd in fds:
        os.close(fd)


def _is_alone() -> bool:
    """Whether this process has one thread, those that Python does not know of counted, too."""
    try:
        return len(list(Path("/proc/self/task").iterdir())) == 1
    except OSError:  # there is no /proc: nobody can tell
        return False
