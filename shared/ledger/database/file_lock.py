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


# Seconds that a process which is to be stopped waits for a turn of its own to end, and for one that
# it may just be getting: who has not got it by then waits in the kernel, which stops such a wait.
_HELD_MOST = 5.0
_TRIED_MOST = 1.0


class _Gate:
    """Counts those of this process who have a turn or try to get one; lets none in while shut."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._is_shut = False
        self._trying = 0
        self._holding = 0

    def enter(self) -> None:
        """Begin to try, as soon as one may."""
        with self._changed:
            while self._is_shut:
                self._changed.wait()
            self._trying += 1

    def fail(self) -> None:
        """Give up trying."""
        with self._changed:
            self._trying -= 1
            self._changed.notify_all()

    def hold(self) -> bool:
        """Begin to hold a turn; False if it has to be given back at once."""
        with self._changed:
            self._holding += not self._is_shut
            return not self._is_shut

    def leave(self, *, was_holding: bool) -> None:
        """Note that a lock was given back."""
        with self._changed:
            self._trying -= 1
            self._holding -= was_holding
            if self._is_shut:
                self._changed.notify_all()

    def shut(self) -> None:
        """Let nobody in, and wait for those who are; as long as that makes sense."""
        with self._changed:
            self._is_shut = True
            self._changed.wait_for(lambda: not self._holding, _HELD_MOST)
            self._changed.wait_for(lambda: not self._trying, _TRIED_MOST)

    def open(self) -> None:
        """Let everybody in again."""
        with self._changed:
            self._is_shut = False
            self._changed.notify_all()


_gate = _Gate()


@contextmanager
def none_held() -> Iterator[None]:
    """For as long as the block lasts this process has no turn: whoever stops may do so in it."""
    _gate.shut()
    try:
        yield
    finally:
        _gate.open()


@contextmanager
def file_lock(path: Path, patience: float | None) -> Iterator[None]:
    """Hold the lock while the block lasts.

    Args:
        path: The file, made if it is not there.
        patience: Seconds to wait for others; None is for as long as it takes.

    Raises:
        TimeoutError: Somebody else held it all the time.
        OSError: The file cannot be made or opened, or not be locked.
    """
    lock = _take(path, patience)
    try:
        yield
    finally:
        os.close(lock)
        _gate.leave(was_holding=True)


def _take(path: Path, patience: float | None) -> int:
    while True:
        _gate.enter()
        try:
            lock = _lock(path, patience)
        except BaseException:
            _gate.fail()
            raise
        if _gate.hold():
            return lock
        os.close(lock)
        _gate.leave(was_holding=False)


def _lock(path: Path, patience: float | None) -> int:
    """Take the lock; return the descriptor that has it."""
    lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        if patience is None:
            fcntl.flock(lock, fcntl.LOCK_EX)
            return lock
        if _is_free(lock) or _Waiter(lock).wait(patience):
            return lock
    except BaseException:
        os.close(lock)
        raise
    raise TimeoutError  # it is closed by whoever waits still


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
        self._over = threading.Event()
        self._error: OSError | None = None
        self._has_left = False

    def wait(self, patience: float) -> bool:
        """Wait for the lock; after ``patience`` seconds without it give up, and return False.

        Raises:
            OSError: The kernel keeps no such locks here.
        """
        threading.Thread(target=self._run, name="file-lock", daemon=True).start()
        if not self._over.wait(patience):
            with self._guard:
                self._has_left = not self._over.is_set()
        if self._error is not None:
            raise self._error
        return not self._has_left

    def _run(self) -> None:
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX)
        except OSError as error:
            self._error = error
        with self._guard:
            if self._has_left:
                os.close(self._lock)
            else:
                self._over.set()
