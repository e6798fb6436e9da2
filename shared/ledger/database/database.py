"""Transactions on the ledger's database, and the one place that knows which database it is."""

from __future__ import annotations

import time
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any, TypeVar

import sqlalchemy as sa

from shared.errors import (
    LedgerInterrupted,
    LedgerReplaced,
    LedgerUnavailable,
    LedgerUncertain,
)
from shared.ledger.database.backend import BUSY_SECONDS, Backend, Trouble
from shared.ledger.database.sqlite import SqliteBackend

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from shared.ledger.database.backend import Backend, Locks, Pulse

T = TypeVar("T")
Names = tuple[str, ...]
Columns = tuple["sa.Column[Any]", ...]

AGAIN_SECONDS = 0.1
"""How long to wait before something is tried again that was interrupted."""

# What a constraint or a trigger raises: a call that makes no sense stays what it is, a bug.
_RULES = (sa.exc.IntegrityError, sa.exc.DataError)

_GONE = (
    "was deleted or replaced while it was in use; put it back, or stop what uses it and start "
    "again with what is there"
)


class Database:
    """Hands out connections inside transactions; turns the driver's errors into ours.

    An error that the data itself has caused passes through as it is where a settlement is written.
    Any other one is the database's, whatever it says: it means waiting, and never that an order is
    at fault. So is a rule that is broken elsewhere: it can only be one that somebody has added.

    Args:
        url: Where the database is.
        patience: Seconds that a transaction may wait for others before it gives up; None is as
            long as it takes, for a process whose supervisor would replace it.
        pulse: Surrounds every wait for a server that does not answer: a sign of life.
        password_file: Where its password is, for each new connection anew; empty if in the URL.

    Attributes:
        backend: What is particular to the database in use.
        name: Its URL, fit for a log: the password is masked.
    """

    def __init__(
        self,
        url: str,
        patience: float | None = None,
        pulse: Pulse | None = None,
        password_file: str = "",
    ) -> None:
        self.backend: Backend = (
            SqliteBackend(sa.make_url(url), patience)
            if url.startswith("sqlite")
            else _postgres(url, patience, pulse, password_file)
        )
        self.name = self.backend.name
        self._reader, self._writer = self.backend.create_engines()
        self._prepared: dict[object, Any] = {}
        self._ledger_id: str | None = None

    def recognise(self, ledger_id: str) -> None:
        """Insist from now on that this ledger is the one which is read and written.

        A process may sleep while its ledger is set aside and another one begins in its place:
        what it knows of numbers and balances is none of that one's.
        """
        self._ledger_id = ledger_id
        self.backend.recognise()

    @contextmanager
    def read(self) -> Iterator[sa.Connection]:
        """One snapshot of the whole ledger, for as long as the block lasts.

        Raises:
            LedgerUnavailable: The database cannot be reached or read.
        """
        with self.translating():
            self._check_place()
            with self._reader.connect() as connection, connection.begin():
                yield connection

    def ask(self, question: Callable[[sa.Connection], T]) -> T:
        """Read something short; ask again if the server goes away in between, for a while.

        Raises:
            LedgerUnavailable: The database cannot be reached or read.
        """

        def attempt() -> T:
            with self.read() as connection:
                return question(connection)

        return _persist(attempt)

    @contextmanager
    def write(
        self, *, judges: bool = False, through: sa.Connection | None = None
    ) -> Iterator[sa.Connection]:
        """A transaction that may write; it commits at the end of the block, durably.

        Args:
            judges: Whether what the database refuses for its data's sake is told as that.
            through: The connection to use, in place of any.

        Raises:
            LedgerUnavailable: The database cannot be reached or written; nothing was.
            LedgerUncertain: The answer to the commit was lost.
        """
        with self.translating(judges=judges), self.backend.writing():
            self._check_place()
            using = self._writer.connect() if through is None else nullcontext(through)
            with using as connection, connection.begin() as transaction:
                if self._ledger_id is not None:
                    self._check_identity(connection, self._ledger_id)
                yield connection
                self._commit(transaction)
            gone = self.backend.gone()
            if gone is not None:
                raise LedgerUncertain(f"ledger {self.name}: {gone} {_GONE}")

    def making(
        self,
        is_made: Callable[[sa.Connection], bool],
        make: Callable[[sa.Connection], None],
    ) -> None:
        """Make the ledger if nobody has, in one transaction.

        Raises:
            LedgerUnavailable: The database cannot be reached or written.
        """

        def make_in_turn() -> None:
            with self._writer.connect() as connection, connection.begin():
                self.backend.exclude_makers(connection)
                if not is_made(connection):
                    make(connection)

        def attempt() -> None:
            with self.translating():
                self.backend.making(lambda: self.ask(is_made), make_in_turn)

        _persist(attempt)

    def migrating(self, change: Callable[[sa.Connection], None]) -> None:
        """Change the ledger's tables in one transaction, while nobody else uses it.

        Raises:
            LedgerUnavailable: Another process uses it, or it cannot be written.
        """

        def change_in_turn() -> None:
            with self._writer.connect() as connection, connection.begin():
                self.backend.exclude_makers(connection)
                change(connection)

        with self.translating():
            self.backend.migrating(self.close, change_in_turn)

    def set_aside(self) -> str | None:
        """Put the ledger where the next one does not find it; return where, if there was one.

        Raises:
            LedgerUnavailable: Another process uses it.
        """
        with self.translating():
            return self.backend.set_aside(self.close)

    def open_locks(self) -> Locks:
        """Prepare to hold partitions; ``Hold`` does it."""
        return self.backend.open_locks(self._writer, self._ledger_id or "")

    def hurry(self) -> None:
        """Wait for no server that is away: for a service that tries again by itself."""
        self.backend.hurry()

    def close(self) -> None:
        """Give every connection back."""
        self.backend.close(self._reader, self._writer)

    def _check_place(self) -> None:
        gone = self.backend.gone()
        if gone is not None:
            raise LedgerReplaced(f"ledger {self.name}: {gone} {_GONE}")

    def _check_identity(self, connection: sa.Connection, ledger_id: str) -> None:
        if self.backend.read_identity(connection) != ledger_id:
            raise LedgerReplaced(
                f"ledger {self.name} was set aside while it was in use, and another one is in its "
                "place; start again to use that"
            )

    def _commit(self, transaction: sa.RootTransaction) -> None:
        try:
            transaction.commit()
        except (sa.exc.DBAPIError, self.backend.errors) as error:
            cause = _cause(error)
            if self.backend.has_refused(cause):
                raise
            said = self.backend.remedy(cause)
            raise LedgerUncertain(f"ledger {self.name} {said}") from error

    def prepared(self, key: object, build: Callable[[], Any]) -> Any:  # noqa: ANN401
        """Build a statement once: SQLAlchemy finds its compiled form by the object's identity."""
        if key not in self._prepared:
            self._prepared[key] = build()
        return self._prepared[key]

    def insert_new(self, table: sa.Table) -> Any:  # noqa: ANN401  one class per dialect
        """An INSERT that passes over rows whose key is there already."""
        key = list(table.primary_key)  # and no index of others': that one would be met for ever
        return self.prepared(
            ("insert_new", table),
            lambda: self.backend.insert(table).on_conflict_do_nothing(index_elements=key),
        )

    def upsert(self, table: sa.Table, *, adding: Names = (), setting: Names = ()) -> Any:  # noqa: ANN401
        """An INSERT that, where the key is there already, adds to or replaces some columns."""

        def build() -> Any:  # noqa: ANN401
            insert = self.backend.insert(table)
            changes = {name: table.c[name] + insert.excluded[name] for name in adding}
            changes |= {name: insert.excluded[name] for name in setting}
            return insert.on_conflict_do_update(
                index_elements=list(table.primary_key), set_=changes
            )

        return self.prepared(("upsert", table, adding, setting), build)

    def select_any(self, columns: Columns, key: Any, *, of: Any = None) -> Any:  # noqa: ANN401
        """A SELECT of the rows whose ``key`` is among the values bound as ``values``.

        With ``of``, only those where that column is the value bound as ``of``.
        """

        def build() -> Any:  # noqa: ANN401
            query = sa.select(*columns).where(self.backend.any_of(key, "values"))
            return query if of is None else query.where(of == sa.bindparam("of"))

        return self.prepared(("select_any", columns, key, of), build)

    @contextmanager
    def translating(self, *, judges: bool = False) -> Iterator[None]:
        """Turn the driver's errors within the block into ours."""
        try:
            yield
        except (sa.exc.DBAPIError, self.backend.errors) as error:
            cause = _cause(error)
            trouble = self.backend.diagnose(cause)
            if trouble is Trouble.OF_THE_DATA and (judges or not isinstance(error, _RULES)):
                raise
            kind = LedgerInterrupted if trouble is Trouble.PASSING else LedgerUnavailable
            raise kind(f"ledger {self.name} {self.backend.remedy(cause)}") from error
        except sa.exc.TimeoutError as error:
            raise LedgerInterrupted(f"ledger {self.name}: every connection is in use") from error


def _cause(error: BaseException) -> BaseException:
    """The driver's own error."""
    return getattr(error, "orig", None) or error


def _persist(attempt: Callable[[], T]) -> T:
    """Try again what may be done twice, if the server goes away in between, for a while."""
    deadline = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            return attempt()
        except LedgerInterrupted:
            if time.monotonic() > deadline:
                raise
            time.sleep(AGAIN_SECONDS)


def _postgres(url: str, patience: float | None, pulse: Pulse | None, password_file: str) -> Backend:
    from shared.ledger.database.postgres import PostgresBackend  # noqa: PLC0415  its driver is slow to load

    return PostgresBackend(url, patience, pulse, password_file)
