"""What SIGINT and SIGTERM mean to a pipeline: drain at the first, stop at once at the second."""

from __future__ import annotations

import os
import signal
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_HANDLED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class StopRequests:
    """The signals received so far.

    Attributes:
        drain: Set by the first signal: take no more in.
        abort: Set by the second: leave everything as it is.
        wake: A descriptor that becomes readable with the first signal, for those who wait in
            a select.
    """

    def __init__(self) -> None:
        self.drain = threading.Event()
        self.abort = threading.Event()
        self.wake, self._waker = os.pipe()

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
        for number in _HANDLED:
            signal.signal(number, lambda *_: self.request())
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
            os.close(self.wake)
            os.close(self._waker)
