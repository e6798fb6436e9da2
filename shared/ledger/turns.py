"""Taking turns by a lock on a file: fair, woken by the kernel, and over when its holder ends."""

from __future__ import annotations

import fcntl
import os
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@contextmanager
def turn(path: Path, patience: float | None) -> Iterator[None]:
    """Hold the lock while the block lasts.

    Args:
        path: The file, made if it is not there.
        patience: Seconds to wait for others; None is for as long as it takes.

    Raises:
        TimeoutError: Somebody else held it all the time.
        OSError: The file cannot be made or opened.
    """
    lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    if patience is None:
        fcntl.flock(lock, fcntl.LOCK_EX)
    elif not _is_free(lock) and not _Waiter(lock).wait(patience):
        raise TimeoutError
    try:
        yield
    finally:
        os.close(lock)


def _is_free(lock: int) -> bool:
    """Take the lock if nobody has it."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


class _Waiter:
    """Stands in the kernel's queue for somebody who may leave it.

    The kernel knows no time-out here, and asking again and again would never be served between
    busy writers. So a thread waits; if its principal has left it gives the lock straight back.
    """

    def __init__(self, lock: int) -> None:
        self._lock = lock
        self._guard = threading.Lock()
        self._has_left = False
        self._taken = threading.Event()

    def wait(self, patience: float) -> bool:
        """Wait for the lock; after ``patience`` seconds without it give up, and return False."""
        threading.Thread(target=self._run, name="turn", daemon=True).start()
        if not self._taken.wait(patience):
            with self._guard:
                self._has_left = not self._taken.is_set()
        return not self._has_left

    def _run(self) -> None:
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        with self._guard:
            if self._has_left:
                os.close(self._lock)
            else:
                self._taken.set()
