"""Holding partitions: locks that end with their holder, and the session through which it writes.

Not by a clock: whoever has lost the lock has lost the way to write as well, so that nobody writes
who does not hold. How that is done is the backend's affair.
"""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from sqlalchemy.exc import DBAPIError

from shared.errors import LedgerUnavailable

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    import sqlalchemy as sa

    from shared.ledger.database.backend import Locks
    from shared.ledger.database.database import Database


class Hold:
    """What one worker holds of a ledger; for one thread at a time.

    Args:
        database: Where the partitions are.

    Attributes:
        held: The partitions.
        answered_at: When the database last said that they are held, in monotonic seconds.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._locks: Locks | None = None
        self.held: set[int] = set()
        self.answered_at = 0.0

    def take(self, partitions: Iterable[int]) -> set[int]:
        """Take those that nobody holds; return which that were.

        Raises:
            LedgerUnavailable: Nothing that was held need be held any more.
        """
        wanted = sorted(set(partitions) - self.held)
        if not wanted:
            return set()
        with self._watched():
            taken = set(self._open().take(wanted))
        self.held |= taken
        return taken

    def let_go(self, partitions: Iterable[int]) -> None:
        """Let others have them.

        Raises:
            LedgerUnavailable: As above.
        """
        leaving = sorted(self.held & set(partitions))
        self.held -= set(leaving)
        if leaving and self._locks is not None:
            with self._watched():
                self._locks.release(leaving)

    def keep(self) -> None:
        """Show the database that the holder is there, and see whether it still holds.

        Raises:
            LedgerUnavailable: As above.
        """
        if self._locks is not None:
            with self._watched():
                self._locks.keep()

    @contextmanager
    def write(self) -> Iterator[sa.Connection]:
        """A transaction that nobody can write who does not hold; see ``Database.write``.

        Raises:
            LedgerUnavailable: As above, and nothing was written.
            LedgerUncertain: The answer to the commit was lost.
        """
        with self._watched():
            locks = self._open()
            with self._database.write(judges=True, through=locks.connection) as connection:
                yield connection

    def close(self) -> None:
        """Let go of everything, at once."""
        locks, self._locks = self._locks, None
        self.held.clear()
        if locks is not None:
            locks.close()

    def _open(self) -> Locks:
        if self._locks is None:
            self._locks = self._database.open_locks()
        return self._locks

    @contextmanager
    def _watched(self) -> Iterator[None]:
        try:
            with self._database.translating():
                yield
        except (LedgerUnavailable, DBAPIError) as error:
            is_lost = self._locks is None or self._locks.are_lost
            if is_lost:
                self.close()
            if is_lost and isinstance(error, DBAPIError):
                # Whatever it says of what was written: nobody was there to refuse it.
                raise LedgerUnavailable(
                    f"ledger {self._database.name} has ended the session"
                ) from None
            raise
        self.answered_at = time.monotonic()
