"""The bank's book: an SQLite file of charges and balances, opened or made. It decides nothing.

There is a book within it for each ledger that pays here: one account name in two ledgers is two
accounts.
"""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing, contextmanager, suppress
from typing import TYPE_CHECKING

from shared.errors import BookUnavailable
from shared.texts import said

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

BUSY_SECONDS = 5.0
"""How long to wait for whoever has locked the file."""

_APPLICATION = 0x0B4A4B01
"""By which SQLite files of ours are told from others."""

_VERSION = 1
_TABLES = (
    # nth counts the charges of one key. It is 1 in all of them, but where keys were not honoured.
    """CREATE TABLE charges (
        id INTEGER PRIMARY KEY,
        at REAL NOT NULL,
        ledger TEXT NOT NULL,
        key TEXT NOT NULL,
        nth INTEGER NOT NULL,
        reference TEXT NOT NULL,
        account TEXT NOT NULL,
        amount INTEGER NOT NULL CHECK (amount >= 0),
        currency TEXT NOT NULL,
        status TEXT NOT NULL CHECK (status IN ('paid', 'declined')),
        reason TEXT,
        UNIQUE (key, nth)
    ) STRICT""",
    "CREATE INDEX charges_of_reference ON charges (reference)",
    "CREATE INDEX charges_of_ledger ON charges (ledger)",
    """CREATE TABLE accounts (
        account TEXT NOT NULL,
        ledger TEXT NOT NULL,
        currency TEXT NOT NULL,
        balance INTEGER NOT NULL CHECK (balance >= 0),
        opened_by INTEGER NOT NULL REFERENCES charges (id),
        PRIMARY KEY (account, ledger)
    ) STRICT, WITHOUT ROWID""",
)
_PRAGMAS = (
    # An acknowledged charge survives a power cut: FULL syncs the log at every commit.
    "synchronous = FULL",
    "wal_autocheckpoint = 4000",
    "journal_size_limit = 67108864",
    "cache_size = -16384",
    "temp_store = MEMORY",
)
_REMEDIES = {
    "locked": "is locked by another program; close that and try again",
    "not a database": "is no SQLite database; name another file with --book",
    "malformed": "is damaged; restore a copy of it, or name another file with --book",
    "full": "has no room left on its disk; make some, what was answered is kept",
    "disk i/o": "cannot be written (disk full or failing); see to it, what was answered is kept",
    "unable to open": "cannot be opened; see that it is a file, and that its folder may be written",
    "readonly": "may not be written; see to its permissions",
}


def open_book(path: Path) -> None:
    """Make the book if nobody has; find out that it cannot be used before anybody is served.

    Raises:
        BookUnavailable: Names the file and the remedy.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with suppress(FileExistsError):
            # For its owner alone: what customers pay is in it. Log and index get the same mode.
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    except OSError as error:
        raise BookUnavailable(
            f"book {path} cannot be made: {error.strerror}; name another file with --book"
        ) from None
    with telling(path), closing(connect(path)) as connection:
        _make(connection, path)


def connect(path: Path, *, writes: bool = True) -> sqlite3.Connection:
    """Open a connection that begins transactions as it is told; any one thread may use it."""
    connection = sqlite3.connect(
        path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False
    )
    for pragma in (*_PRAGMAS, *(() if writes else ("query_only = ON",))):
        connection.execute(f"PRAGMA {pragma}")
    return connection


@contextmanager
def telling(path: Path) -> Iterator[None]:
    """Say of what SQLite has against the book what to do about it.

    Raises:
        BookUnavailable: It has something.
    """
    try:
        yield
    except sqlite3.Error as error:
        raise unavailable(path, error) from None


def unavailable(path: Path, error: sqlite3.Error) -> BookUnavailable:
    """Say what is wrong with the book, and what to do about it."""
    text = str(error).lower()
    known = (remedy for sign, remedy in _REMEDIES.items() if sign in text)
    why = next(known, f"cannot be used: {said(error)}; see to its file")
    return BookUnavailable(f"book {path} {why}")


def is_perhaps_written(error: sqlite3.Error) -> bool:
    """Whether a commit that failed may be there all the same: its log was not synced."""
    return getattr(error, "sqlite_errorname", "").endswith("FSYNC")


def _make(connection: sqlite3.Connection, path: Path) -> None:
    if not _is_ours(connection):
        connection.execute("BEGIN IMMEDIATE")
        # Asked again, since two may begin at once.
        if not _is_ours(connection):
            (tables,) = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
            if tables:
                raise BookUnavailable(
                    f"book {path} is another program's database; name another file with --book"
                )
            for statement in _TABLES:
                connection.execute(statement)
            connection.execute(f"PRAGMA application_id = {_APPLICATION}")
            connection.execute(f"PRAGMA user_version = {_VERSION}")
        connection.execute("COMMIT")
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version != _VERSION:
        raise BookUnavailable(
            f"book {path} was made by another version of orderly ({version}, this one has "
            f"{_VERSION}); name another file with --book"
        )
    connection.execute("PRAGMA journal_mode = WAL")
    # A file that may only be read is told from others by the first who writes.
    connection.execute("BEGIN IMMEDIATE")
    connection.execute("UPDATE accounts SET balance = balance WHERE false")
    connection.execute("ROLLBACK")


def _is_ours(connection: sqlite3.Connection) -> bool:
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    return bool(application == _APPLICATION)
