"""The ids that an input has had so far: any number of them, in little memory."""

from __future__ import annotations

import sqlite3

from shared.errors import OutputUnavailable

MOST_IN_MEMORY = 200_000
"""Ids that are kept in memory, as hashes, at some 80 bytes each; more go to a temporary file."""


class SeenIds:
    """A set of ids that only grows. Two in 2^64 may be taken for each other."""

    def __init__(self) -> None:
        self._recent: set[int] = set()
        self._older: sqlite3.Connection | None = None

    def __bool__(self) -> bool:
        return bool(self._recent) or self._older is not None

    def __contains__(self, order_id: str) -> bool:
        known = hash(order_id)
        if known in self._recent:
            return True
        if self._older is None:
            return False
        found = self._older.execute("SELECT 1 FROM seen WHERE id = ?", (known,)).fetchone()
        return found is not None

    def add(self, order_id: str) -> None:
        """Remember an id.

        Raises:
            OutputUnavailable: There is no room for temporary files.
        """
        self._recent.add(hash(order_id))
        if len(self._recent) >= MOST_IN_MEMORY:
            try:
                self._spill()
            except sqlite3.Error as error:
                raise OutputUnavailable(
                    f"the ids of a long input cannot be kept in the temporary folder: {error}; "
                    "make room, or name another one in TMPDIR"
                ) from None

    def close(self) -> None:
        """Forget them."""
        if self._older is not None:
            self._older.close()

    def _spill(self) -> None:
        if self._older is None:
            # Without a name it is a temporary file, which nobody needs after a crash.
            self._older = sqlite3.connect("", isolation_level=None)
            self._older.execute("PRAGMA journal_mode = OFF")
            self._older.execute("CREATE TABLE seen (id INTEGER PRIMARY KEY)")
        self._older.execute("BEGIN")
        rows = ((known,) for known in sorted(self._recent))
        self._older.executemany("INSERT OR IGNORE INTO seen VALUES (?)", rows)
        self._older.execute("COMMIT")
        self._recent.clear()
