"""Threads in which gateways are called that block: our own, bounded, and never waited for.

A call that hangs keeps its thread; another one takes its place, as long as there are not too many.
"""

from __future__ import annotations

import threading
from collections import deque
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    Work = Callable[[Any], None]

HANGING = 64
"""Most threads that hang before no other is started in place of one."""


class CallThreads:
    """Does work with a gateway of the thread's own.

    Args:
        make: Makes the gateway, once in each thread; what it raises is handed on.
        most: Most threads, beside those that hang.

    Attributes:
        hanging: How many have a call in hand that nobody waits for any more.
    """

    def __init__(self, make: Callable[[], object], most: int) -> None:
        self._make = make
        self._most = most
        self._work: deque[Work] = deque()
        self._changed = threading.Condition()
        self._count = 0
        self._idle = 0
        self.hanging = 0

    def submit(self, work: Work) -> None:
        """Have something done; it is handed the gateway, or the error that there is in its place.

        Raises:
            RuntimeError: There is no room for a thread, and there is none.
        """
        with self._changed:
            self._work.append(work)
            if len(self._work) <= self._idle:
                self._changed.notify()
                return
            if self._count >= self._most + min(self.hanging, HANGING):
                return  # whoever comes back first does it
            self._count += 1
        try:
            threading.Thread(target=self._run, name="gateway", daemon=True).start()
        except RuntimeError:
            with self._changed:
                self._count -= 1
                if self._count > self.hanging:
                    return
                self._work.remove(work)
            raise

    def give_up(self) -> None:
        """Note that a thread hangs."""
        with self._changed:
            self.hanging += 1

    def regain(self) -> None:
        """Note that a thread which hung has come back."""
        with self._changed:
            self.hanging -= 1

    def _run(self) -> None:
        try:
            gateway: object = self._make()
        except BaseException as error:  # noqa: BLE001  whatever somebody else's code raises
            gateway = error
        while True:
            with self._changed:
                while not self._work:
                    if self._count > self._most + self.hanging:
                        self._count -= 1
                        return
                    self._idle += 1
                    self._changed.wait()
                    self._idle -= 1
                work = self._work.popleft()
            work(gateway)
