"""All that is particular to PostgreSQL: how to make a ledger, write to it, and set it aside.

How to connect, how to write in bulk, and what errors mean, is in the modules beside this one.
"""

from __future__ import annotations

import time
from contextlib import contextmanager, nullcontext, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql
from typing_extensions import override

from shared.errors import LedgerUnavailable
from shared.ledger.database import tables
from shared.ledger.database.backend import BUSY_SECONDS, Backend, Trouble
from shared.ledger.database.postgres_arrays import Array, as_array, deleting, name_of, with_arrays
from shared.ledger.database.postgres_errors import diagnose, has_refused, hide_rows, remedy
from shared.ledger.database.postgres_locks import SessionLocks
from shared.ledger.database.postgres_session import (
    APPLICATION,
    READING,
    WRITING,
    Session,
    begin,
    open_session,
    parameters_of,
)
from shared.passwords import PasswordFile, mask_password

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from psycopg.abc import AdaptContext

    from shared.ledger.database.backend import Pulse

_MAKING = 7_305_211_942_331
"""The key of the advisory lock under which a ledger is made."""

_POLL_SECONDS = 0.25
_INDEXES = [str(index.name) for table in tables.metadata.tables.values() for index in table.indexes]


class PostgresBackend(Backend):
    """One database, any number of writers that wait for each other's rows.

    Args:
        url: Where the database is, as libpq reads it.
        patience: Seconds to wait for a server that is starting; None is as long as one should.
        pulse: Surrounds every attempt to connect, for who must show that it is alive; there is
            one attempt at a time then.
        password_file: Where its password is, for each new connection anew; empty if in the URL.
    """

    errors: type[Exception] = psycopg.Error
    insert = staticmethod(postgresql.insert)
    diagnose = staticmethod(diagnose)
    has_refused = staticmethod(has_refused)
    remedy = staticmethod(remedy)

    def __init__(
        self,
        url: str,
        patience: float | None,
        pulse: Pulse | None = None,
        password_file: str = "",
    ) -> None:
        self.name = mask_password(url)
        self.hazard: str | None = None
        self._parameters = parameters_of(url)
        self._password: PasswordFile | None = None
        if password_file:
            self._password = PasswordFile(password_file, self._parameters.get("password", ""))
        self._patience = BUSY_SECONDS if patience is None else patience
        self._pulse = pulse or nullcontext
        if pulse is not None:
            self._patience = 0.0
        self._is_recognised = False
        self._compiled: dict[tuple[sa.Insert, tuple[str, ...]], str] = {}

    @override
    def create_engines(self) -> tuple[sa.Engine, sa.Engine]:
        reader = self._create_engine(READING, pool_size=8, is_for_reading=True)
        return reader, self._create_engine(WRITING, pool_size=4)

    def _create_engine(
        self, timeouts: dict[str, str], pool_size: int, *, is_for_reading: bool = False
    ) -> sa.Engine:
        engine = sa.create_engine(
            "postgresql+psycopg://",  # where to is for `connect` to say
            pool_size=pool_size,
            pool_use_lifo=True,
            pool_pre_ping=True,  # a server that was restarted is no reason to fail
            use_native_hstore=False,  # nobody has any here, and it would be asked for
            # An error's text may reach a log, and what is bound are orders.
            hide_parameters=True,
        )

        def connect(
            _dialect: object,
            record: sa.pool.ConnectionPoolEntry,
            _arguments: object,
            options: dict[str, Any],
        ) -> psycopg.Connection[Any]:
            session = self._open_session(
                timeouts, is_for_reading=is_for_reading, context=options["context"]
            )
            record.info["begin"] = session.begin
            record.info["is_shared"] = session.is_shared
            return session.connection

        sa.event.listen(engine, "handle_error", hide_rows)
        sa.event.listen(engine, "do_connect", connect)
        sa.event.listen(engine, "begin", begin if is_for_reading else self._begin_writing)
        return engine

    def _open_session(
        self,
        settings: dict[str, str],
        *,
        is_for_reading: bool = False,
        context: AdaptContext | None = None,
    ) -> Session:
        """Connect, and wait for a server that is starting."""
        deadline = time.monotonic() + self._patience
        while True:
            try:
                with self._pulse():
                    session = open_session(
                        self._place(), settings, is_for_reading=is_for_reading, context=context
                    )
            except psycopg.OperationalError as error:
                if time.monotonic() > deadline or diagnose(error) is Trouble.LASTING:
                    raise
                time.sleep(_POLL_SECONDS)
            else:
                self.hazard = session.hazard
                return session

    def _place(self) -> dict[str, Any]:
        """Where to connect to, with the password of now."""
        known = self._parameters
        return known if self._password is None else known | {"password": self._password.read()}

    @override
    def hurry(self) -> None:
        self._patience = 0.0

    @override
    def exists(self) -> bool:
        # Whoever reads it next is told what is wrong.
        return True

    @override
    def making(self, is_made: Callable[[], bool], make: Callable[[], None]) -> None:
        # Who makes one excludes the others in its transaction.
        if not is_made():
            make()

    @override
    def exclude_makers(self, connection: sa.Connection) -> None:
        # Until the transaction ends, since a pooler may lend the session on.
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_MAKING})")

    @override
    def in_the_way(self, connection: sa.Connection) -> str | None:
        # Others may have tables here, if they have other names.
        schema = connection.exec_driver_sql("SELECT current_schema()").scalar()
        if schema is None:
            return "the search_path names no schema that there is"
        names = [*tables.metadata.tables, *_INDEXES]
        found = connection.exec_driver_sql(
            "SELECT relname FROM pg_class WHERE relname = ANY(%s) AND relnamespace = ("
            "SELECT oid FROM pg_namespace WHERE nspname = %s) ORDER BY relname LIMIT 1",
            (names, schema),
        ).scalar()
        if found is None:
            return None
        return f"the schema {schema} holds other tables, one with a name of the ledger's: {found}"

    @contextmanager
    @override
    def writing(self) -> Iterator[None]:
        # Writers wait for rows, not for turns.
        yield

    @override
    def migrating(self, close: Callable[[], None], change: Callable[[], None]) -> None:
        close()
        session = self._open_session(READING)
        with session.connection as connection:
            self._exclude_users(session, connection)
        change()

    @override
    def set_aside(self, close: Callable[[], None]) -> str | None:
        """Move the ledger's tables, and nobody else's, into a schema of their own."""
        close()
        session = self._open_session(READING)
        with session.connection as connection, connection.transaction():
            connection.execute("SELECT pg_advisory_xact_lock(%s)", (_MAKING,))
            self._exclude_users(session, connection)
            # Where the ledger is found, which need not be the first schema of the search_path.
            ours = connection.execute(
                "SELECT oid::regclass FROM pg_class WHERE relkind IN ('r', 'p')"
                " AND relname = ANY(%s) AND relnamespace = ("
                "SELECT relnamespace FROM pg_class WHERE oid = to_regclass(%s))",
                ([*tables.metadata.tables], tables.ledger.name),
            ).fetchall()
            if not ours:
                return None
            aside = f"aside_{datetime.now(UTC):%Y%m%dt%H%M%S%f}"
            connection.execute(f"CREATE SCHEMA {aside}".encode())
            for (table,) in ours:
                connection.execute(f"ALTER TABLE {table} SET SCHEMA {aside}".encode())
        return f"in the schema {aside}"

    def _exclude_users(self, session: Session, connection: psycopg.Connection[Any]) -> None:
        """See that nobody else uses the ledger."""
        if session.is_shared:
            raise LedgerUnavailable(
                f"ledger {self.name} is behind a pooler, which does not show who uses it; "
                "name the server itself in LEDGER_URL for this"
            )
        others = connection.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
            " AND application_name = %s AND pid <> pg_backend_pid()",
            (APPLICATION,),
        ).fetchone()
        if others is not None and others[0]:
            raise LedgerUnavailable(
                f"ledger {self.name} is in use by another process; let that end, or use another one"
            )

    @override
    def beside(self, suffix: str) -> Path:
        return Path("var", f"{self._parameters.get('dbname')}-{suffix}").absolute()

    @override
    def write_rows(
        self,
        connection: sa.Connection,
        insert: sa.Insert,
        columns: tuple[str, ...],
        rows: list[tuple[Any, ...]],
    ) -> int:
        # One statement with an array for each column.
        if not rows:
            return 0
        statement = self._compiled.get((insert, columns))
        if statement is None:
            statement = self._compiled[insert, columns] = with_arrays(insert, columns)
        arrays = tuple(as_array(column) for column in zip(*rows, strict=True))
        return connection.exec_driver_sql(statement, arrays).rowcount

    @override
    def delete_rows(
        self,
        connection: sa.Connection,
        table: sa.Table,
        columns: tuple[str, ...],
        rows: list[tuple[Any, ...]],
    ) -> int:
        if not rows:
            return 0
        arrays = tuple(as_array(column) for column in zip(*rows, strict=True))
        return connection.exec_driver_sql(deleting(table, columns), arrays).rowcount

    @override
    def open_locks(self, writer: sa.Engine, ledger_id: str) -> SessionLocks:
        return SessionLocks(writer, ledger_id, self.name)

    @staticmethod
    @override
    def bind_list(values: list[Any]) -> str:
        return as_array(tuple(values))

    @staticmethod
    @override
    def any_of(column: sa.ColumnElement[Any], parameter: str) -> sa.ColumnElement[bool]:
        values: Any = sa.bindparam(parameter, type_=Array(name_of(column.type)))
        return column == sa.func.any(values)

    @staticmethod
    @override
    def contains(column: sa.ColumnElement[Any], value: bytes) -> sa.ColumnElement[bool]:
        return sa.func.position(sa.literal(value, sa.LargeBinary).op("IN")(column)) > 0

    @override
    def recognise(self) -> None:
        # A server has no file that could be looked at, and is asked for the id.
        self._is_recognised = True

    def _begin_writing(self, connection: sa.Connection) -> None:
        """Begin, and ask which ledger it is in the same breath: that costs no journey of its own.

        The lock that reading takes keeps the table where it is until the end.
        """
        begin(connection, "; SELECT ledger_id FROM ledger" if self._is_recognised else "")

    @staticmethod
    @override
    def close(*engines: sa.Engine) -> None:
        for engine in engines:
            engine.dispose()

    @staticmethod
    @override
    def gone() -> str | None:
        # What is in place of it is found out by its id.
        return None

    @staticmethod
    @override
    def read_identity(connection: sa.Connection) -> str | None:
        # It was read as the transaction began.
        found: str | None = connection.info["ledger_id"]
        return found

    @staticmethod
    @override
    def interrupt(driver: psycopg.Connection[Any]) -> None:
        with suppress(psycopg.Error):  # it was closed, or the server is away
            driver.cancel_safe(timeout=1.0)
