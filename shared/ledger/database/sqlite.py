"""All that is particular to SQLite: how to connect, lock, write in bulk and read its errors."""

from __future__ import annotations

import json
import os
import sqlite3
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy.dialects import sqlite
from typing_extensions import override

from shared.errors import LedgerUnavailable
from shared.ledger.database.backend import BUSY_SECONDS, REFUSES, Backend, Trouble
from shared.ledger.database.file_lock import file_lock
from shared.ledger.database.sqlite_files import Files
from shared.ledger.database.sqlite_locks import FileLocks
from shared.texts import said

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_DIALECT = sqlite.dialect()
_PRAGMAS = (
    # An acknowledged order survives a power cut: FULL syncs the log at every commit.
    "synchronous = FULL",
    # A longer log before it is folded back: pages that change again and again are copied once.
    "wal_autocheckpoint = 8000",
    "journal_size_limit = 67108864",
    "cache_size = -32768",
    "temp_store = MEMORY",
)

_REMEDIES = {
    "locked": "is locked by another program; close that and try again",
    "not a database": "is no SQLite database; name another file in LEDGER_URL",
    "malformed": "is damaged; restore a copy of it",
    "no such table": "is damaged, it lacks tables; restore a copy of it",
    "full": "has no room left on its disk; make some and run again, what was accepted is kept",
    "disk i/o": "cannot be written (disk full or failing); see to it and run again, "
    "what was accepted is kept",
    "unable to open": "cannot be opened; check that its folder exists, and that both may be "
    "written",
    "readonly": "may not be written; check its permissions",
}
_OF_THE_DATA = (
    sqlite3.IntegrityError,
    sqlite3.DataError,
    # What the driver cannot bind, or a statement that makes no sense: no waiting mends that.
    sqlite3.ProgrammingError,
    sqlite3.InterfaceError,
    sqlite3.NotSupportedError,
)


class SqliteBackend(Backend):
    """One file, one writer at a time, any number of readers of a snapshot.

    Args:
        url: Where the file is.
        patience: Seconds to wait for another writer's end; None is as long as it takes.
    """

    errors: type[Exception] = sqlite3.Error
    hazard: str | None = None
    insert = staticmethod(sqlite.insert)

    def __init__(self, url: sa.URL, patience: float | None = None) -> None:
        self.path = Path(url.database or "").absolute()
        self.name = url.render_as_string()
        self._url = url
        self._patience = patience
        self._compiled: dict[tuple[sa.Insert, tuple[str, ...]], str] = {}
        self._files = Files(self.path)
        self._opened: set[sqlite3.Connection] = set()

    @override
    def create_engines(self) -> tuple[sa.Engine, sa.Engine]:
        # One engine, whose transactions begin as they are told.
        seconds = BUSY_SECONDS if self._patience is None else self._patience
        engine = sa.create_engine(
            self._url,
            pool_size=8,
            connect_args={"timeout": seconds},
            # An error's text may reach a log, and what is bound are orders.
            hide_parameters=True,
        )
        sa.event.listen(engine, "connect", self._prepare)
        sa.event.listen(engine, "close", lambda closed, _: self._opened.discard(closed))
        sa.event.listen(engine, "begin", _begin)
        return engine, engine.execution_options(begin="BEGIN IMMEDIATE")

    def _prepare(self, connection: Any, _record: object) -> None:  # noqa: ANN401  DBAPI is untyped
        self._opened.add(connection)
        # The driver must not begin transactions by itself: it would begin them as readers, and a
        # reader that turns writer fails at once when another has written since.
        connection.isolation_level = None
        cursor = connection.cursor()
        for pragma in _PRAGMAS:
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    @override
    def hurry(self) -> None:
        """Do nothing: there is no server."""

    @override
    def exists(self) -> bool:
        return self.path.exists()

    @override
    def recognise(self) -> None:
        self._files.recognise()

    @override
    def gone(self) -> str | None:
        return self._files.gone()

    @override
    def close(self, *engines: sa.Engine) -> None:
        if not self._files.leave_open(self._opened):
            for engine in engines:
                engine.dispose()

    @staticmethod
    @override
    def read_identity(connection: sa.Connection) -> str | None:
        # Past SQLAlchemy, since it is asked with every write.
        driver: Any = connection.connection.driver_connection
        row = driver.execute("SELECT ledger_id FROM ledger").fetchone()
        return row[0] if row else None

    @override
    def making(self, is_made: Callable[[], bool], make: Callable[[], None]) -> None:
        # Processes would collide, be it only in switching the log on.
        if self._has_log() and is_made():
            return
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise LedgerUnavailable(
                f"ledger {self.name}: cannot make the folder {self.path.parent}: {error.strerror}"
            ) from None
        with self.writing(patience=BUSY_SECONDS):
            self._make_file()
            is_there = is_made()
            self._set_mode("WAL", BUSY_SECONDS)
            if not is_there:
                make()

    def _make_file(self) -> None:
        """Make the file for its owner alone, if it is not there: what customers order is in it.

        Its log and its index get the same mode from SQLite.
        """
        try:
            os.close(os.open(self.path, os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        except FileExistsError:
            pass
        except OSError as error:
            raise LedgerUnavailable(
                f"ledger {self.name} {_REMEDIES['unable to open']} ({error.strerror})"
            ) from None

    @override
    def exclude_makers(self, connection: sa.Connection) -> None:
        """Wait for nobody: whoever makes one has its turn already."""

    @override
    def in_the_way(self, connection: sa.Connection) -> str | None:
        # A file is somebody's as a whole.
        return (
            "the database holds other tables" if sa.inspect(connection).get_table_names() else None
        )

    @override
    def migrating(self, close: Callable[[], None], change: Callable[[], None]) -> None:
        with self.writing(patience=BUSY_SECONDS):
            close()
            self._fold_log()
            change()
            close()
            self._set_mode("WAL", BUSY_SECONDS)

    @override
    def set_aside(self, close: Callable[[], None]) -> str | None:
        with self.writing(patience=BUSY_SECONDS):
            close()
            self._fold_log()
            stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%f")
            aside = self.path.with_name(f"{self.path.stem}-{stamp}{self.path.suffix}")
            self.path.rename(aside)
        return str(aside)

    def _fold_log(self) -> None:
        """Fold the log back into the file, which only its sole user can do."""
        try:
            self._set_mode("DELETE", 0)
        except sqlite3.OperationalError:
            raise LedgerUnavailable(
                f"ledger {self.name} is in use by another process; let that end, or use another one"
            ) from None

    @override
    def beside(self, suffix: str) -> Path:
        return self.path.with_name(f"{self.path.stem}-{suffix}")

    def _has_log(self) -> bool:
        """Whether the file is there and keeps a write-ahead log: readers and a writer at once."""
        # Asked of SQLite, although a look at the file's header would do: closing the file by hand
        # would drop every lock that this process's connections hold on it.
        try:
            connection = sqlite3.connect(f"{self.path.as_uri()}?mode=rw", uri=True)
            try:
                (mode,) = connection.execute("PRAGMA journal_mode").fetchone()
            finally:
                connection.close()
        except sqlite3.Error:
            return False  # whoever opens it next is told what is wrong
        return bool(mode == "wal")

    def _set_mode(self, mode: str, timeout: float) -> None:
        connection = sqlite3.connect(self.path, timeout=timeout, isolation_level=None)
        try:
            connection.execute(f"PRAGMA journal_mode = {mode}")
        finally:
            connection.close()

    @contextmanager
    @override
    def writing(self, *, patience: float | None = None) -> Iterator[None]:
        """Wait for this file's turn to write; the kernel wakes the next in line.

        SQLite's own waiting is polling with sleeps of up to 100 ms; between busy writers that
        leaves the disk idle. The lock is on a file beside the ledger and ends with its holder.

        Args:
            patience: Seconds after which to give up, in place of the backend's own.
        """
        patience = self._patience if patience is None else patience
        with ExitStack() as held:
            try:
                held.enter_context(file_lock(Path(f"{self.path}.lock"), patience))
            except TimeoutError:
                raise LedgerUnavailable(f"ledger {self.name} {_REMEDIES['locked']}") from None
            except OSError as error:
                raise LedgerUnavailable(
                    f"ledger {self.name} {_REMEDIES['unable to open']} ({error.strerror})"
                ) from None
            yield

    @override
    def write_rows(
        self,
        connection: sa.Connection,
        insert: sa.Insert,
        columns: tuple[str, ...],
        rows: list[tuple[Any, ...]],
    ) -> int:
        statement = self._compiled.get((insert, columns))
        if statement is None:
            compiled = insert.compile(dialect=_DIALECT, column_keys=list(columns))
            order = compiled.positiontup or []
            if order != list(columns):
                raise ValueError(f"columns must come in the table's order: {order}")
            statement = self._compiled[insert, columns] = str(compiled)
        return connection.exec_driver_sql(statement, rows).rowcount

    @override
    def delete_rows(
        self,
        connection: sa.Connection,
        table: sa.Table,
        columns: tuple[str, ...],
        rows: list[tuple[Any, ...]],
    ) -> int:
        matching = " AND ".join(f"{column} = ?" for column in columns)
        statement = f"DELETE FROM {table.name} WHERE {matching}"  # noqa: S608  names of ours
        return connection.exec_driver_sql(statement, rows).rowcount if rows else 0

    @override
    def open_locks(self, writer: sa.Engine, ledger_id: str) -> FileLocks:
        return FileLocks(Path(f"{self.path}.held"), self.name)

    @staticmethod
    @override
    def bind_list(values: list[Any]) -> str:
        return json.dumps(values)

    @staticmethod
    @override
    def any_of(column: sa.ColumnElement[Any], parameter: str) -> sa.ColumnElement[bool]:
        values = sa.func.json_each(sa.bindparam(parameter, type_=sa.String)).table_valued("value")
        return column.in_(sa.select(values.c.value))

    @staticmethod
    @override
    def contains(column: sa.ColumnElement[Any], value: bytes) -> sa.ColumnElement[bool]:
        return sa.func.instr(column, value) > 0

    @staticmethod
    @override
    def diagnose(error: BaseException) -> Trouble:
        # There is no server that could come back, so the rest lasts.
        return Trouble.OF_THE_DATA if isinstance(error, _OF_THE_DATA) else Trouble.LASTING

    @staticmethod
    @override
    def has_refused(error: BaseException) -> bool:
        # A log that could not be synced may hold the commit all the same.
        return not getattr(error, "sqlite_errorname", "").endswith("FSYNC")

    @staticmethod
    @override
    def interrupt(driver: sqlite3.Connection) -> None:
        with suppress(sqlite3.ProgrammingError):  # it was closed meanwhile
            driver.interrupt()

    @staticmethod
    @override
    def remedy(error: BaseException) -> str:
        if isinstance(error, sqlite3.IntegrityError):
            return f"{REFUSES} ({said(error)})"
        text = str(error).lower()
        known = (remedy for sign, remedy in _REMEDIES.items() if sign in text)
        return next(known, f"cannot be used: {said(error)}; see to its file")


def _begin(connection: sa.Connection) -> None:
    connection.exec_driver_sql(connection.get_execution_options().get("begin", "BEGIN"))
