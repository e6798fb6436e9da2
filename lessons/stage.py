"""What the lessons share: lines that say when and who, and a clean end.

Every lesson reads well without this page. It imports nothing of Orderly's.
"""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from contextlib import ExitStack, contextmanager, suppress
from multiprocessing.connection import wait
from multiprocessing.forkserver import _forkserver
from multiprocessing.resource_tracker import _resource_tracker
from multiprocessing.util import Finalize
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from lessons.watching import children, until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from multiprocessing.process import BaseProcess
    from types import FrameType

# The environment hands it down, so that all processes of a lesson count from the same moment.
_STARTED = float(os.environ.setdefault("LESSON_STARTED", str(time.monotonic())))

_PR_SET_CHILD_SUBREAPER = 36
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGALRM)


def say(text: str) -> None:
    """Print a line: seconds since the lesson began, process id, process name, what happened."""
    name = multiprocessing.current_process().name.replace("MainProcess", "main")
    show(f"{time.monotonic() - _STARTED:5.2f} s {os.getpid():>6} {name:<11} {text}")


def detail(text: str) -> None:
    """Print more about the line before."""
    show(f"{'':28}{text}")


def show(text: str) -> None:
    """Print at once; where nobody reads any more (``| head``), into nothing."""
    try:
        # One write for a whole line: other processes print, too.
        sys.stdout.write(f"{text}\n")
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def close(saw: str, why: str, here: str) -> None:
    """End a lesson: what you saw, why, and where the pipeline uses or avoids it."""
    show("")
    for title, text in (("What you saw", saw), ("Why", why), ("In Orderly", here)):
        lines = textwrap.wrap(text, 82, break_long_words=False, break_on_hyphens=False)
        show("\n".join([f"{title:<14}{lines[0]}", *(f"{'':14}{line}" for line in lines[1:])]))


def start(*processes: BaseProcess) -> None:
    """Start processes that leave Ctrl-C to this one."""
    with _shielded():
        for process in processes:
            process.start()


def work_for(seconds: float) -> None:
    """Take as long as work takes.

    The lessons' work is made up, so this sleep *is* the work: the time that a payment takes. It
    never waits for somebody; that is what `until` is for, and it has a deadline.
    """
    time.sleep(seconds)  # the work itself: nobody is waited for, so there is no condition


@contextmanager
def program(*command: str | Path, **options: Any) -> Iterator[subprocess.Popen[str]]:  # noqa: ANN401
    """Run another program while the block lasts, and wait for its end; kill it on an error."""
    with ExitStack() as stack:
        with _shielded():
            running = stack.enter_context(subprocess.Popen(command, text=True, **options))

            def kill_if_failed(kind: type[BaseException] | None, *_: object) -> None:
                if kind is not None:
                    running.kill()  # it may wait for one that is ended after it

            stack.push(kill_if_failed)
        yield running


def fork(name: str, child: Callable[[], None]) -> int:
    """Run a function in a forked child, which then ends; return its pid. To be waited for."""
    pid = os.fork()
    if pid == 0:
        multiprocessing.current_process().name = name
        try:
            child()
        finally:
            os._exit(0)
    return pid


@contextmanager
def _shielded() -> Iterator[None]:
    """Start children inside, and Ctrl-C is no business of theirs.

    A terminal sends SIGINT to every process of the program. What is blocked here stays blocked in
    a child, so that one process alone decides, and no signal comes between a start and its record.
    (The resource tracker runs already: its start would unblock SIGINT.)
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    _Play.is_starting = True
    try:
        yield
    finally:
        _Play.is_starting = False
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        if _Play.postponed:
            _interrupt(_Play.postponed.pop(), None)


def leave_with_parent() -> None:
    """Let this process end when its parent has ended, even by a SIGKILL; see the lesson daemon."""
    parent = multiprocessing.parent_process()
    if parent is None:
        raise RuntimeError("only a child has a parent to leave with")
    sentinel = parent.sentinel

    def watch() -> None:
        wait([sentinel])
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


class _Play:
    """What the signal handler has to know."""

    owner = 0
    is_starting = False
    is_ending = False
    interrupted_by = 0
    postponed: ClassVar[list[int]] = []  # there is one play in a process


class _Interrupted(BaseException):
    """Raised by a signal, so that every ``finally`` and ``with`` of the lesson does its part."""


def play(lesson: Callable[[], None], *, takes_arguments: bool = False) -> None:
    """Run a lesson. However it ends, none of its processes stays behind."""
    if sys.argv[1:] and not takes_arguments:
        print(f"{Path(sys.argv[0]).stem}: takes no arguments", file=sys.stderr)
        sys.exit(2)
    _Play.owner = os.getpid()
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as the tracker ignores SIGINT and SIGTERM
    _resource_tracker.ensure_running()
    for number in _SIGNALS:
        signal.signal(number, _interrupt)
    signal.alarm(60)  # a lesson takes seconds; if one should ever hang, it ends all the same
    Finalize(None, _end_helpers, exitpriority=-90)  # after those that need them
    try:
        lesson()
    except BaseException:
        # The exception still holds on to the lesson's queues here, and behind this block they are
        # gone. A child that is just coming to be may look for one.
        _end_children()
        # A signal that comes while a lock changes hands ends in that lock's error, so the number
        # tells, not the exception.
        if not _Play.interrupted_by:
            raise
    else:
        _end_children()
    if _Play.interrupted_by:
        print("interrupted: every process of this lesson has been ended", file=sys.stderr)
        sys.exit(128 + _Play.interrupted_by)


def _end_children() -> None:
    _Play.is_ending = True
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_IGN)  # too late to interrupt
    adopt_orphans()
    for child in multiprocessing.active_children():
        with suppress(ProcessLookupError):
            child.kill()
        child.join()
    _kill_others()


def _interrupt(number: int, _frame: FrameType | None) -> None:
    if os.getpid() != _Play.owner:
        # A forked child inherits this handler; it shall end as if it had none.
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
    elif _Play.is_starting:
        _Play.postponed.append(number)
    elif not _Play.is_ending:
        _Play.interrupted_by = number
        raise _Interrupted


def adopt_orphans() -> None:
    """From now on be the parent of grandchildren that lose theirs, so as to reap them, too."""
    if sys.platform == "linux":
        with suppress(AttributeError, OSError):
            ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def _kill_others() -> None:
    """Kill and reap the children that multiprocessing does not know of: forked, or adopted."""
    tracker: Any = _resource_tracker
    server: Any = _forkserver
    helpers = {tracker._pid, server._forkserver_pid}
    while others := children() - helpers:  # the end of one may bring us its children
        for pid in others:
            with suppress(ProcessLookupError, ChildProcessError):
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)


def _end_helpers() -> None:
    """Let multiprocessing's own helper processes end before this one, and reap whoever is left."""
    helpers: tuple[Any, ...] = (_forkserver, _resource_tracker)
    for helper in helpers:
        helper._stop()

    def nobody_is_left() -> bool:
        try:
            os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return True
        return False

    until(nobody_is_left, within=5)
