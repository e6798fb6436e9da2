"""Transactions on the ledger's database, and the one place that knows which database it is."""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import sqlalchemy as sa

from shared.errors import LedgerInterrupted, LedgerUnavailable
from shared.ledger.backend import BUSY_SECONDS
from shared.ledger.sqlite import SqliteBackend

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from shared.ledger.backend import Backend

T = TypeVar("T")
Names = tuple[str, ...]
Columns = tuple["sa.Column[Any]", ...]

AGAIN_SECONDS = 0.1
"""How long to wait before something is tried again that was interrupted."""


class Database:
    """Hands out connections inside transactions; turns the driver's errors into ours.

    Args:
        url: Where the database is.
        patience: Seconds that a transaction may wait for others before it gives up; None is as
            long as it takes, for a process whose supervisor would replace it.

    Attributes:
        backend: What is particular to the database in use.
        name: Its URL, fit for a log: the password is masked.
    """

    def __init__(self, url: str, patience: float | None = None) -> None:
        address = sa.make_url(url)
        self.backend: Backend = (
            SqliteBackend(address, patience)
            if address.get_backend_name() == "sqlite"
            else _postgres(address, patience)
        )
        self.name = self.backend.name
        self._reader, self._writer = self.backend.create_engines()
        self._prepared: dict[object, Any] = {}

    @contextmanager
    def read(self) -> Iterator[sa.Connection]:
        """One snapshot of the whole ledger, for as long as the block lasts.

        Raises:
            LedgerUnavailable: The database cannot be reached or read.
        """
        with self._translating(), self._reader.connect() as connection, connection.begin():
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
    def write(self) -> Iterator[sa.Connection]:
        """A transaction that may write; it commits at the end of the block, durably.

        Raises:
            LedgerUnavailable: The database cannot be reached or written; nothing was.
        """
        with self._translating(), self.backend.writing(), self._begin() as begun:
            yield begun

    def making(self, is_made: Callable[[], bool], make: Callable[[sa.Connection], None]) -> None:
        """Make the ledger if nobody has, in one transaction.

        Raises:
            LedgerUnavailable: The database cannot be reached or written.
        """

        def make_in_turn() -> None:
            with self._begin() as connection:
                make(connection)

        def attempt() -> None:
            with self._translating():
                self.backend.making(is_made, make_in_turn)

        _persist(attempt)

    def set_aside(self) -> str | None:
        """Put the ledger where the next one does not find it; return where, if there was one.

        Raises:
            LedgerUnavailable: Another process uses it.
        """
        with self._translating():
            return self.backend.set_aside(self.close)

    @contextmanager
    def _begin(self) -> Iterator[sa.Connection]:
        with self._writer.connect() as connection, connection.begin():
            yield connection

    def close(self) -> None:
        """Give every connection back."""
        self._reader.dispose()
        self._writer.dispose()

    def prepared(self, key: object, build: Callable[[], Any]) -> Any:  # noqa: ANN401
        """Build a statement once: SQLAlchemy finds its compiled form by the object's identity."""
        if key not in self._prepared:
            self._prepared[key] = build()
        return self._prepared[key]

    def insert_new(self, table: sa.Table) -> Any:  # noqa: ANN401  one class per dialect
        """An INSERT that passes over rows whose key is there already."""
        return self.prepared(
            ("insert_new", table), lambda: self.backend.insert(table).on_conflict_do_nothing()
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
    def _translating(self) -> Iterator[None]:
        try:
            yield
        except (sa.exc.DBAPIError, self.backend.errors) as error:
            cause = getattr(error, "orig", None) or error
            remedy = self.backend.remedy(cause)
            if remedy is None:
                raise
            kind = LedgerInterrupted if self.backend.is_passing(cause) else LedgerUnavailable
            raise kind(f"ledger {self.name} {remedy}") from error


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


def _postgres(address: sa.URL, patience: float | None) -> Backend:
    from shared.ledger.postgres import PostgresBackend  # noqa: PLC0415  its driver is slow to load

    return PostgresBackend(address, patience)
