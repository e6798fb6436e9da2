"""Ctrl-Z: a process is stopped only while it has no turn to write to a ledger's file.

A stopped process keeps its locks, and others would wait until somebody lets it go on. So a thread
stops it, when no transaction of its own is under way; it goes on where it was with SIGCONT.
"""

from __future__ import annotations

import os
import select
import signal
import threading
import time
from contextlib import suppress

from shared.ledger.database.file_lock import none_held
from shared.logs import Logger
from shared.resilience import Mishaps

_STOPS = {signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU}
_MOST = 4096

STALE_SECONDS = 0.1
"""So long after it went on a process may still hear that it wrote to its terminal before.

One who writes from the background is told again and again; if it still does, it hears it later.
"""

log = Logger("signals")


class _Suspension:
    """The thread that stops the process, and hears of signals in the order in which they came."""

    def __init__(self) -> None:
        self._went_on_at = -STALE_SECONDS
        self._ear, self._mouth = os.pipe()
        os.set_blocking(self._ear, False)
        os.set_blocking(self._mouth, False)

    def begin(self) -> None:
        """Handle the signals; call it in the main thread. Those that are ignored stay so."""
        # Not in handlers: Python calls those when it comes to it, and in an order of its own.
        signal.set_wakeup_fd(self._mouth, warn_on_full_buffer=False)
        for number in (*_STOPS, signal.SIGCONT):
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, _do_nothing)
        threading.Thread(target=self._run, name="suspension", daemon=True).start()

    def _run(self) -> None:
        mishaps = Mishaps(log, "not stopped")
        while True:
            with mishaps.survived():
                if self._is_asked(is_asked=False, wait=True):
                    with none_held():
                        self._stop_if_still_asked()
            mishaps.wait()

    def _stop_if_still_asked(self) -> None:
        """As the kernel has it: who was told to go on does not stop for what came before."""
        if self._is_asked(is_asked=True, wait=False):
            # To this thread: it stops all of the process, and no step later than here.
            signal.pthread_kill(threading.get_ident(), signal.SIGSTOP)
            self._went_on_at = time.monotonic()

    def _is_asked(self, *, is_asked: bool, wait: bool) -> bool:
        """Hear what came since; say whether the process is to stop now."""
        if wait:
            select.select([self._ear], [], [])
        is_stale = time.monotonic() - self._went_on_at < STALE_SECONDS
        for number in self._hear():
            if number in _STOPS and not (is_stale and number != signal.SIGTSTP):
                is_asked = True
            elif number == signal.SIGCONT:
                is_asked = False
        return is_asked

    def _hear(self) -> bytes:
        """Take all that was told; the end of it is enough."""
        pending = b""
        with suppress(BlockingIOError):
            while piece := os.read(self._ear, _MOST):
                pending = pending[-_MOST:] + piece
        return pending


def _do_nothing(*_: object) -> None:
    """Only so that a signal is told of, and does nothing else."""


def stop_between_turns() -> None:
    """Have SIGTSTP stop this process when it holds nobody up."""
    if signal.getsignal(signal.SIGCONT) is signal.SIG_DFL:  # else it does so already
        _Suspension().begin()
