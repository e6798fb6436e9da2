"""Orders from files: CSV or JSONL, plain, gzip-compressed or from standard input."""

from __future__ import annotations

import errno
import os
import stat
import sys
from contextlib import suppress
from itertools import chain
from typing import TYPE_CHECKING

from services.producer.csv_orders import check_header, parse_csv
from services.producer.jsonl_orders import parse_jsonl
from services.producer.source import PAUSE, CutOff
from services.producer.streams import chunks, decompressed, lines
from shared.errors import InputError

if TYPE_CHECKING:
    from services.producer.source import Source

STANDARD_INPUT = "-"


class Input:
    """An input that was opened: a file by its path, or standard input by ``-``.

    Attributes:
        name: What to call it.
        size: Its bytes on disk, or None for a stream.

    Raises:
        InputError: It cannot be opened, or does not begin as CSV or JSONL of orders do.
    """

    def __init__(self, path: str, wake: int) -> None:
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
                self._look_at_beginning()
        except OSError as error:
            raise InputError(f"{self.name}: cannot be opened: {error.strerror}") from None

    def _open(self, path: str) -> int:
        if not self._is_standard:
            return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        if sys.stdin is None:
            raise OSError(errno.EBADF, "it is closed")
        return sys.stdin.fileno()

    def _look_at_beginning(self) -> None:
        """Read on a little: an unusable input should stop a run before it starts."""
        start = os.lseek(self._descriptor, 0, os.SEEK_CUR)
        os.pread(self._descriptor, 1, start)
        with suppress(CutOff):
            next(self.orders(), None)
        os.lseek(self._descriptor, start, os.SEEK_SET)

    def position(self) -> int:
        """How many bytes of a regular file have been read."""
        return os.lseek(self._descriptor, 0, os.SEEK_CUR) if self.size is not None else 0

    def orders(self) -> Source:
        """Yield the orders, the rejected ones too; can be called once.

        Raises:
            InputError: The input is neither CSV nor JSONL of orders.
            CutOff: It ended in the middle of an order, or of its encoding.
        """
        content = lines(decompressed(chunks(self._descriptor, self._wake)))
        for line in content:
            if line is PAUSE:
                yield PAUSE
            elif line.text.strip():
                break
        else:
            if self._is_named(".csv"):
                raise InputError(f"{self.name}: is empty; a CSV file begins with its header")
            return
        looks_like_json = line.text.lstrip().startswith(b"{") and not self._is_named(".csv")
        if looks_like_json or self._is_named(".jsonl", ".ndjson"):
            yield from parse_jsonl(self.name, chain([line], content))
        else:
            if line.cut is None:
                check_header(self.name, line)
            yield from parse_csv(self.name, content)

    def close(self) -> None:
        """Close the file."""
        if not self._is_standard:
            os.close(self._descriptor)

    def _is_named(self, *suffixes: str) -> bool:
        return self.name.lower().removesuffix(".gz").endswith(suffixes)
