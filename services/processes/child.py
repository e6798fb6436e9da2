"""What a child process owes its parent: not to outlive it, and to leave Ctrl-C to it."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
import sys
import threading
import time
from multiprocessing.connection import wait

from services.processes.signals import OF_TERMINALS
from services.processes.suspension import stop_between_turns

_PR_SET_PDEATHSIG, _PR_SET_NAME = 1, 15
_LOOK_SECONDS = 1.0


def follow_parent() -> None:
    """Make this process end when its parent does, even if the parent is SIGKILLed.

    A daemon flag does not do that: it is the parent's own exit that ends daemons, and a killed
    parent runs no exit. On Linux the kernel sends the signal. Everywhere a thread watches the
    parent's sentinel, too: it also sees a parent that died before the kernel was asked.
    """
    parent = multiprocessing.parent_process()
    if parent is None:
        return
    forked_by = os.getppid()
    end_with_parent(forked_by)

    def watch() -> None:
        try:
            wait([parent.sentinel])
        except OSError:  # it cannot be waited for: look now and then
            while os.getppid() == forked_by:
                time.sleep(_LOOK_SECONDS)
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=watch, name="parent-watch", daemon=True).start()


def end_with_parent(parent: int) -> None:
    """Have the kernel kill this process when the thread that forked it ends, where it can.

    Args:
        parent: Its process, which may be gone by now.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os.kill(os.getpid(), signal.SIGKILL)


def call_it(name: str) -> None:
    """Give this process a name of its own in lists of processes: at most 15 letters."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_NAME, name.encode())


def leave_signals_to_parent() -> None:
    """Ignore SIGINT and SIGHUP: a terminal sends them to the whole group, and the parent decides.

    SIGTERM keeps its default action: a worker that is told to go by name goes, and is replaced.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    stop_between_turns()
    signal.pthread_sigmask(signal.SIG_UNBLOCK, OF_TERMINALS)  # they were withheld until now
