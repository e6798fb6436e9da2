"""The files of an SQLite ledger: whether they are still those that were opened, by their inodes.

An open file goes on when its name is gone, and what is written to it may be lost. SQLite looks for
none of that: it finds log and index by their names, when it begins and when it ends.
"""

from __future__ import annotations

import ctypes
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable
    from pathlib import Path

_File = tuple[int, int]
"""A file whatever its name: device and inode."""


class Files:
    """The ledger's own file, its log, and the index of that.

    Args:
        path: The ledger's own.
    """

    def __init__(self, path: Path) -> None:
        self._log = f"{path}-wal"
        self._names = {
            str(path): "its file",
            self._log: "the log beside its file",
            f"{path}-shm": "the index of its log",  # who has another shares no locks with others
        }
        self._known: dict[str, _File] = {}

    def recognise(self) -> None:
        """Remember what is there, while a connection is open: for so long all of them stay."""
        found = {path: self._find(path) for path in self._names}
        self._known = {path: file for path, file in found.items() if file is not None}

    def gone(self) -> str | None:
        """Name one that is no longer the one which was there, if so."""
        for path, file in self._known.items():
            if self._find(path) != file:
                return self._names[path]
        return None

    def leave_open(self, connections: Iterable[sqlite3.Connection]) -> bool:
        """Keep connections from ever being closed, if that would harm the ledger; say whether.

        Who closes the last one folds the log back into the file, by the index that it knows, and
        then removes whatever has the log's name. That is right where the log alone has gone.
        """
        lost = [path for path, file in self._known.items() if self._find(path) != file]
        if not lost or (lost == [self._log] and self._find(self._log) is None):
            return False
        for connection in connections:
            # Python closes what nobody holds, at its end too: so somebody does.
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(connection))
        return True

    def _find(self, path: str) -> _File | None:
        """What has this name, if anything has."""
        try:
            found = os.stat(path)  # noqa: PTH116  asked with every transaction
        except OSError:
            return None
        # A ledger that was emptied in place goes on in its log alone, until somebody starts anew; a
        # log is empty until the first commit.
        is_empty = found.st_size == 0 and path != self._log
        return None if is_empty else (found.st_dev, found.st_ino)
