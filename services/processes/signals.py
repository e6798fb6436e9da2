"""What SIGINT and SIGTERM mean to a pipeline: drain at the first, stop at once at the second.

A signal that is ignored when the process starts stays ignored: that is what ``nohup`` is for, and
how a shell keeps Ctrl-C from what runs in its background.
"""

from __future__ import annotations

import os
import signal
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_HANDLED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

OF_TERMINALS = (
    *(signal.SIGINT, signal.SIGHUP),
    *(signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU),
)
"""What a terminal sends to a whole process group."""


@contextmanager
def withheld(numbers: Iterable[signal.Signals] = OF_TERMINALS) -> Iterator[None]:
    """Start processes in this block: they begin with these signals blocked, and may unblock them.

    So none can hit a process that has not said yet what it makes of it.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, numbers)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class StopRequests:
    """The signals received so far.

    Attributes:
        drain: Set by the first signal: take no more in.
        abort: Set by the second: leave everything as it is.
        number: The last signal's.
        wake: A descriptor that becomes readable with the first signal, for those who wait in
            a select.
    """

    def __init__(self) -> None:
        self.number = 0
        self.drain = threading.Event()
        self.abort = threading.Event()
        self.wake, self._waker = os.pipe()

    def _hear(self, number: int, _frame: object) -> None:
        self.number = number
        self.request()

    def request(self) -> None:
        """Count one more."""
        if self.drain.is_set():
            self.abort.set()
        else:
            self.drain.set()
            os.write(self._waker, b"\0")

    @contextmanager
    def handled(self) -> Iterator[None]:
        """Handle the signals while the block lasts; call it in the main thread."""
        before = {number: signal.getsignal(number) for number in _HANDLED}
        before = {number: each for number, each in before.items() if each is not signal.SIG_IGN}
        for number in before:
            signal.signal(number, self._hear)
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
            os.close(self.wake)
            os.close(self._waker)
