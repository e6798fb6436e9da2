"""Where workers come from: copies of a process that has imported what they need.

To start an interpreter and to import takes half a second of a processor, and a copy takes some
milliseconds. Only a process without threads can be copied safely, so the nursery is one that does
nothing else: it is forked before this process starts its first thread, and waits to be asked.

It ends with its parent, and its workers end with it: the kernel sees to both. If it is lost, or
where fork is not to be trusted (macOS), workers are started as new interpreters.
"""

from __future__ import annotations

import atexit
import gc
import io
import os
import select
import selectors
import signal
import socket
import struct
import sys
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
from typing import TYPE_CHECKING, NoReturn

from services.process import call_it, end_with_parent
from services.signals import OF_TERMINALS, withheld

if TYPE_CHECKING:
    from collections.abc import Sequence
    from multiprocessing.process import BaseProcess

ANSWER_SECONDS = 5.0
"""How long it may take to make a copy, or to tell of a death; one that was stopped never would."""

_MOST_DESCRIPTORS = 64
_NUMBER = struct.Struct("!i")
_KILLED = -int(signal.SIGKILL)


class _Lost(Exception):
    """The nursery is no more."""


class Nursery:
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
                _live(theirs, parent)
        self._line = ours
        atexit.register(self.close)

    def copy(self, fds: list[int]) -> int:
        """Have a copy made, which gets these descriptors; return where it tells of itself.

        Raises:
            _Lost: There is no nursery.
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
        with suppress(ProcessLookupError, ChildProcessError):
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)


_nursery = Nursery()
open_nursery = _nursery.open


class WorkerProcess(context.SpawnProcess):
    """A process that is a copy from the nursery, or a new interpreter where there is none."""

    @staticmethod
    def _Popen(process: BaseProcess) -> popen_fork.Popen:  # type: ignore[override]  # noqa: N802
        with suppress(_Lost):
            return _Copy(process)
        return popen_spawn_posix.Popen(process)


def reap(process: BaseProcess) -> None:
    """Wait for a process that was killed; a nursery that does not tell of it is ended."""
    process.join(ANSWER_SECONDS)
    if process.is_alive():
        _nursery.close()
        process.join()


class _Copy(popen_fork.Popen):
    """How multiprocessing sees a copy: what it is to do is sent to it, as to a new interpreter."""

    method = "nursery"

    class DupFd:
        """A descriptor on its way."""

        def __init__(self, index: int) -> None:
            self._index = index

        def detach(self) -> int:
            return _given[self._index]

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
            self.sentinel = _nursery.copy([reading, _tracker(), *self._fds])
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
            _nursery.close()
            raise _Lost
        if number < 0:
            raise OSError(-number, os.strerror(-number))
        self.pid = number

    def poll(self, flag: int = os.WNOHANG) -> int | None:
        """Return the exit code, once there is one."""
        if self.returncode is None:
            code = self._hear(0 if flag == os.WNOHANG else None)
            self.returncode = code
        return self.returncode

    def _hear(self, timeout: float | None) -> int | None:
        """Hear a number from the nursery; who hears of its end hears of that of its workers."""
        ear = select.poll()
        ear.register(self.sentinel, select.POLLIN)
        if not ear.poll(None if timeout is None else timeout * 1000):
            return None
        told = os.read(self.sentinel, _NUMBER.size)
        return int(_NUMBER.unpack(told)[0]) if told else _KILLED


_given: list[int] = []
"""In a copy: the descriptors that it was given."""


def _tracker() -> int:
    """The descriptor of the process that tidies up after multiprocessing."""
    return int(resource_tracker.getfd() or 0)  # it has been started, if it was not there


def _close(*fds: int) -> None:
    for fd in fds:
        os.close(fd)


def _is_alone() -> bool:
    """Whether this process has one thread, those that Python does not know of counted, too."""
    return len(list(Path("/proc/self/task").iterdir())) == 1


def _live(line: socket.socket, parent: int) -> NoReturn:
    """Be the nursery, until its parent is gone."""
    try:
        end_with_parent(parent)
        call_it("orderly-nursery")
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
        self._telling: dict[int, int] = {}
        self._ear, self._mouth = os.pipe()
        os.set_blocking(self._ear, False)
        os.set_blocking(self._mouth, False)

    def run(self) -> None:
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(self._mouth, warn_on_full_buffer=False)
        with selectors.DefaultSelector() as selector:
            selector.register(self._line, selectors.EVENT_READ)
            selector.register(self._ear, selectors.EVENT_READ)
            while True:
                ready = {key.fileobj for key, _ in selector.select()}
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
        nursery = os.getpid()
        try:
            pid = os.fork()
        except OSError as error:
            _tell(telling, -(error.errno or 1))
            os.close(telling)
        else:
            if pid == 0:
                os.close(telling)
                self._become(nursery, *fds)
            _tell(telling, pid)
            self._telling[pid] = telling
        for fd in fds:
            os.close(fd)

    def _become(self, nursery: int, task: int, tracker: int, *fds: int) -> NoReturn:
        """Be the worker that was asked for."""
        code = 1
        try:
            end_with_parent(nursery)
            call_it("orderly-worker")
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            for fd in (self._line.fileno(), self._ear, self._mouth, *self._telling.values()):
                os.close(fd)
            _given[:] = fds
            # As multiprocessing's own fork server does, which dies where there is no room to fork.
            resource_tracker._resource_tracker._fd = tracker  # type: ignore[attr-defined]  # noqa: SLF001
            code = spawn._main(task, os.dup(task))  # noqa: SLF001
        finally:
            os._exit(code)


def _tell(telling: int, number: int) -> None:
    with suppress(BrokenPipeError):
        os.write(telling, _NUMBER.pack(number))
