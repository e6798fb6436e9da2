"""Orders from files: CSV or JSONL, plain, gzip-compressed or from standard input."""

from __future__ import annotations

import errno
import os
import stat
import sys
from contextlib import closing, suppress
from itertools import chain
from typing import TYPE_CHECKING

from services.producer.sources.csv_orders import parse_csv
from services.producer.sources.formats import check_header, check_json
from services.producer.sources.jsonl_orders import parse_jsonl
from services.producer.sources.notes import Notes
from services.producer.sources.order_runs import find_apart
from services.producer.sources.source import FLUSH, CutOff
from services.producer.sources.streams import chunks, decompressed, file_chunks, lines
from services.producer.sources.whole_orders import LookedThrough, Remembered, refuse_again
from shared.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from services.producer.sources.source import Flush, Source
    from services.producer.sources.streams import Line

STANDARD_INPUT = "-"


class Input:
    """An input that was opened: a file by its path, or standard input by ``-``.

    Attributes:
        name: What to call it.
        size: Its bytes on disk, or None for a stream.
        notes: What a person should hear of it besides, once it has been read.
        is_csv: Whether it is CSV; known when the first order comes.

    Raises:
        InputError: It cannot be opened, or does not begin as CSV or JSONL of orders do.
    """

    def __init__(self, path: str, wake: int) -> None:
        self.notes = Notes()
        self.is_csv = False
        self._start = 0
        self._wake = wake
        self._is_standard = path == STANDARD_INPUT
        self.name = "standard input" if self._is_standard else path or "''"
        try:
            self._descriptor = self._open(path)
            mode = os.fstat(self._descriptor)
            if stat.S_ISDIR(mode.st_mode):
                raise IsADirectoryError(errno.EISDIR, "it is a folder")
            self.size = mode.st_size if stat.S_ISREG(mode.st_mode) else None
            if self.size is not None:
                self._start = os.lseek(self._descriptor, 0, os.SEEK_CUR)
                self._look_at_beginning()
        except OSError as error:
            raise InputError(f"{self.name}: cannot be opened: {error.strerror}") from None

    def _open(self, path: str) -> int:
        if not self._is_standard:
            return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        if sys.stdin is None:
            raise OSError(errno.EBADF, "it is closed; send the orders there, or name a FILE")
        return sys.stdin.fileno()

    def _look_at_beginning(self) -> None:
        """Read on a little: an unusable input should stop a run before it starts."""
        os.pread(self._descriptor, 1, self._start)
        with suppress(CutOff):
            for _ in self._begin(lines(decompressed(self._again()))):
                pass

    def position(self) -> int:
        """How many bytes of a regular file have been read."""
        return os.lseek(self._descriptor, 0, os.SEEK_CUR) if self.size is not None else 0

    def orders(self) -> Source:
        """Yield the orders, the rejected ones too; can be called once.

        Raises:
            InputError: The input is neither CSV nor JSONL of orders.
            CutOff: It ended in the middle of an order, or of its encoding.
        """
        content = lines(decompressed(chunks(self._descriptor, self._wake)), keeps_rest=True)
        beginning: list[Line] = []
        for found in self._begin(content):
            if found is FLUSH:
                yield FLUSH
            else:
                beginning.append(found)
        if not beginning:
            return
        if self._is_jsonl(beginning[0]):
            orders = parse_jsonl(self.name, chain(beginning, content), self.notes)
            yield from refuse_again(orders)
            return
        self.is_csv = True
        if self.size is None:
            with closing(Remembered(self.notes)) as guard:
                yield from parse_csv(self.name, content, guard, self.notes)
        else:
            yield from self._looked_through(content)

    def _looked_through(self, content: Iterator[Line | Flush]) -> Source:
        """Read a CSV file of which is known which orders it has in several places."""
        before = os.fstat(self._descriptor)
        apart = find_apart(self.name, lambda: decompressed(self._again()))
        yield from parse_csv(self.name, content, LookedThrough(apart), self.notes)
        after = os.fstat(self._descriptor)
        if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns) and self.size:
            raise CutOff("it was changed while it was read; run it again when it is whole")

    def _again(self) -> Iterator[bytes]:
        return file_chunks(self._descriptor, self._wake, self._start)

    def _begin(self, content: Iterator[Line | Flush]) -> Iterator[Line | Flush]:
        """Pass over blank lines, and yield the first other one, if it can be that of orders."""
        for line in content:
            if line is FLUSH:
                yield FLUSH
                continue
            if not line.text.strip():
                continue
            if self._is_jsonl(line):
                check_json(self.name, line)
            elif line.cut is None:
                check_header(self.name, line)
            yield line
            return
        if self._is_named(".csv"):
            raise InputError(f"{self.name}: is empty; a CSV file begins with its header")

    def _is_jsonl(self, line: Line) -> bool:
        looks_like_json = line.text.lstrip().startswith(b"{") and not self._is_named(".csv")
        return looks_like_json or self._is_named(".jsonl", ".ndjson")

    def close(self) -> None:
        """Close the file."""
        if not self._is_standard:
            os.close(self._descriptor)

    def _is_named(self, *suffixes: str) -> bool:
        return self.name.lower().removesuffix(".gz").endswith(suffixes)
