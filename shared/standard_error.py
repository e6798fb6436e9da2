"""Standard error that never blocks and never fails, for processes that run for days.

Whoever reads it may have gone, may be stopped (`| less`, Ctrl-S), or may be a file on a disk that
is full. What is written here goes into a bounded buffer, and a thread of its own brings it out.
What finds no room there, or cannot be brought out, is dropped and counted.
"""

from __future__ import annotations

import atexit
import io
import os
import queue
import select
import sys
import threading
import time
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

MOST_BYTES = 1024 * 1024
"""What may wait to be written."""

PIECE_BYTES = 4096
"""A pipe takes so much in one piece, so that lines of several processes stay whole."""

PACE_SECONDS = 0.02
"""Between two writes: a lone line leaves at once, and many share one, unless somebody flushes."""

PATIENCE = 0.5
"""Seconds that whoever flushes waits, unless somebody has waited in vain since the last write."""

END_PATIENCE = 1.0
AGAIN_SECONDS = 0.05
_FD = 2


class StandardError(io.TextIOBase):
    """What takes the place of ``sys.stderr``.

    Args:
        on_recovery: Told how many lines were dropped, when it can be written again.
        fd: Where it goes.

    Attributes:
        dropped: Lines that were dropped since the start.
    """

    def __init__(self, on_recovery: Callable[[int], None], fd: int = _FD) -> None:
        super().__init__()
        self._on_recovery = on_recovery
        self._fd = fd
        self._lock = threading.RLock()  # what a signal handler or a finalizer says comes in between
        self._waiting: deque[bytes | threading.Event] = deque()
        self._bytes = 0
        self._bell: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._hurry: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._is_awake = False
        self._mine = threading.local()
        self._written = 0
        self._waited_in_vain_at = -1
        self._is_failing = False
        self._is_cut = False
        self._is_ending = False
        self._told = 0
        self.dropped = 0
        threading.Thread(target=self._run, name="stderr", daemon=True).start()

    def writable(self) -> bool:
        """It is."""
        return True

    def fileno(self) -> int:
        """The descriptor behind it."""
        return self._fd

    def isatty(self) -> bool:
        """Whether a person may be looking."""
        return os.isatty(self._fd)

    def write(self, text: str) -> int:
        """Have whole lines written; what is behind them waits for its own end, or for a flush."""
        lines, end, rest = (self._rest + text).rpartition("\n")
        self._mine.rest = rest
        if end:
            self._put(lines + end)
        return len(text)

    def flush(self, patience: float = PATIENCE) -> None:
        """Wait until all is written; not for long, and not at all where nothing moves."""
        if rest := self._rest:
            self._mine.rest = ""
            self._put(rest)
        if self._is_ending or self._waited_in_vain_at == self._written:
            return
        is_reached = threading.Event()
        self._append(is_reached)
        if self._hurry.empty():
            self._hurry.put(None)
        if not is_reached.wait(patience):
            self._waited_in_vain_at = self._written

    def end(self) -> None:
        """Bring out what there is, before the process ends and its threads with it."""
        self.flush(END_PATIENCE)
        self._is_ending = True

    @property
    def _rest(self) -> str:
        return getattr(self._mine, "rest", "")

    def _put(self, text: str) -> None:
        data = text.encode(errors="backslashreplace")
        if self._is_ending:
            if select.select([], [self._fd], [], 0)[1]:
                self._write(data)
            return
        with self._lock:
            if self._bytes + len(data) > MOST_BYTES:
                self.dropped += _count_lines(data)
                return
            self._bytes += len(data)
        self._append(data)

    def _append(self, what: bytes | threading.Event) -> None:
        self._waiting.append(what)
        if not self._is_awake:
            self._is_awake = True
            self._bell.put(None)

    def _run(self) -> None:
        while True:
            self._bell.get()
            self._is_awake = False  # first: what comes from now on rings again
            with suppress(Exception):  # there is nowhere to say it
                while self._waiting:
                    self._bring_out()
                if self.dropped > self._told and not self._is_failing:
                    dropped = self.dropped
                    self._on_recovery(dropped - self._told)
                    self._told = dropped
            with suppress(queue.Empty):
                self._hurry.get(timeout=PACE_SECONDS)

    def _bring_out(self) -> None:
        """Write what waits at the head: as many pieces as a pipe takes at once."""
        first = self._waiting.popleft()
        if isinstance(first, threading.Event):
            first.set()
            return
        pieces, size = [first], len(first)
        while self._waiting and isinstance(following := self._waiting[0], bytes):
            if size + len(following) > PIECE_BYTES:
                break
            self._waiting.popleft()
            pieces.append(following)
            size += len(following)
        try:
            self._write(b"".join(pieces))
        finally:
            with self._lock:
                self._bytes -= size

    def _write(self, data: bytes) -> None:
        if self._is_cut:
            data = b"\n" + data  # the line before this one has no end
        start = 0
        try:
            while start < len(data):
                try:
                    start += os.write(self._fd, data[start:])
                    self._written += 1
                except BlockingIOError:  # another process has made it so
                    time.sleep(AGAIN_SECONDS)
        except OSError:
            self._is_failing = True
            self._is_cut = self._is_cut or start > 0
            with self._lock:
                self.dropped += _count_lines(data[start:])
        else:
            self._is_failing = self._is_cut = False


def _count_lines(data: bytes) -> int:
    return data.count(b"\n") or 1


def take_over(on_recovery: Callable[[int], None]) -> None:
    """Put it in the place of ``sys.stderr``, if that is the real one, until the process ends."""
    usual = sys.stderr
    if not isinstance(usual, io.TextIOWrapper) or usual.fileno() != _FD:
        return
    try:
        usual.flush()
        ours = StandardError(on_recovery)
    except (OSError, RuntimeError):  # no thread to be had: the usual one will do
        return
    sys.stderr = ours
    atexit.register(ours.end)


def dropped_lines() -> int:
    """Lines that this process could not bring out."""
    return sys.stderr.dropped if isinstance(sys.stderr, StandardError) else 0
