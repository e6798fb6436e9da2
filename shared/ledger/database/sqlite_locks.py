"""Partitions of a ledger in a file, held by locks of the kernel, which takes them back at once.

A lock is a byte of a file beside the ledger. It is the process's: its children have none of it, and
it ends when the process does, however it does. A process that is stopped keeps its own.
"""

from __future__ import annotations

import fcntl
import os
from contextlib import suppress
from typing import TYPE_CHECKING

from typing_extensions import override

from shared.errors import LedgerUnavailable
from shared.ledger.database.backend import Locks

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


class FileLocks(Locks):
    """One byte a partition. Open the file nowhere else: closing it again drops all of them.

    Args:
        path: The file, made if it is not there.
        name: The ledger's, for errors.
    """

    are_lost = False
    connection = None

    def __init__(self, path: Path, name: str) -> None:
        self._name = name
        try:
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise LedgerUnavailable(
                f"ledger {name}: cannot open {path}, by which partitions are held: {error.strerror}"
            ) from None

    @override
    def take(self, partitions: Sequence[int]) -> list[int]:
        return [each for each in partitions if self._take(each)]

    def _take(self, partition: int) -> bool:
        try:
            fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, partition)
        except (BlockingIOError, PermissionError):  # either, by POSIX, where somebody has it
            return False
        except OSError as error:
            raise LedgerUnavailable(
                f"ledger {self._name}: its file system keeps no locks ({error.strerror}); "
                "put it on another one"
            ) from None
        return True

    @override
    def release(self, partitions: Sequence[int]) -> None:
        for partition in partitions:
            fcntl.lockf(self._file, fcntl.LOCK_UN, 1, partition)

    @override
    def keep(self) -> None:
        """Do nothing: the kernel knows who lives."""

    @override
    def close(self) -> None:
        with suppress(OSError):
            os.close(self._file)
