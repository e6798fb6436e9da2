"""All that is particular to PostgreSQL: how to connect, wait, write in bulk and read its errors."""

from __future__ import annotations

import re
import time
from contextlib import contextmanager, nullcontext
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from shared.errors import LedgerUnavailable
from shared.ledger.backend import BUSY_SECONDS, Trouble
from shared.passwords import mask_password

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from shared.ledger.backend import Pulse

APPLICATION = "orderly"
_MAKING = 7_305_211_942_331
"""The key of the advisory lock under which a ledger is made."""

# A worker that is frozen or cut off in mid-transaction holds others up for seconds at most.
_WRITING = {
    "lock_timeout": "5s",
    "statement_timeout": "15s",
    "idle_in_transaction_session_timeout": "3s",
}
# Readers hold nobody up, and a proof of a large ledger takes its time, as does who reads a journal.
_READING = {"lock_timeout": "5s"}
_KEEPALIVES = {
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,
    "connect_timeout": 5,
    "application_name": APPLICATION,
}
_SERVER_KEEPALIVES = {
    "tcp_keepalives_idle": "5",
    "tcp_keepalives_interval": "2",
    "tcp_keepalives_count": "3",
}
_POLL_SECONDS = 0.25
_DIALECT = postgresql.dialect()  # type: ignore[no-untyped-call]

_HOPELESS = ("28", "3D")
# Nobody mends these by waiting: no access, no such database, schema or right.
_LASTING = (*_HOPELESS, "42", "3F", "0A")
# A value that a column cannot hold, or that breaks a constraint: nothing else is an order's fault.
_OF_THE_DATA = ("22", "23")
# What a server says that lets nobody in comes without a state, as text.
_REFUSALS = {
    r"authentication failed|no password supplied|no pg_hba.conf entry|role .* does not exist": "28",
    r"database .* does not exist": "3D",
    r"too many clients|too many connections|connection slots": "53",
}
_REMEDIES = {
    "28": "refuses the user or the password; see to LEDGER_URL and LEDGER_PASSWORD_FILE",
    "3D": "has no such database; create it, or name another one in LEDGER_URL",
    "42501": "does not allow this user to do that; grant it the schema",
    "42P01": "is damaged, it lacks tables; restore a copy of it",
    "53": "has no resources left (connections, memory or disk); see to the server",
    "55P03": "is locked by somebody else for too long; look for a transaction that hangs",
    "57": "was interrupted or is shutting down; it is tried again",
    "25006": "is read-only at present (a standby, or set so); it is tried again",
    "25P03": "ended a transaction that stood still; it is tried again",
    "58": "has trouble with its files; see to the server and its disk; it is tried again",
    "XX": "found an error of its own or damaged data; see to the server's log",
    "08": "cannot be reached; see whether the server runs",
    "40": "took another transaction first; it is tried again",
}


class PostgresBackend:
    """One database, any number of writers that wait for each other's rows.

    Args:
        url: Where the server is.
        patience: Seconds to wait for a server that is starting; None is as long as one should.
        pulse: Surrounds every attempt to connect, for who must show that it is alive; there is
            one attempt at a time then.
    """

    errors: type[Exception] = psycopg.Error
    insert = staticmethod(postgresql.insert)

    def __init__(self, url: sa.URL, patience: float | None, pulse: Pulse | None = None) -> None:
        self._url = url.set(drivername="postgresql+psycopg")
        plain = url.set(drivername="postgresql")
        self.name = mask_password(plain.render_as_string(hide_password=True))
        self._patience = BUSY_SECONDS if patience is None else patience
        self._pulse = pulse or nullcontext
        if pulse is not None:
            self._patience = 0.0
        self._compiled: dict[tuple[sa.Insert, tuple[str, ...]], str] = {}

    def create_engines(self) -> tuple[sa.Engine, sa.Engine]:
        """See the port."""
        reader = self._create_engine(_READING, pool_size=8).execution_options(
            isolation_level="REPEATABLE READ", postgresql_readonly=True
        )
        return reader, self._create_engine(_WRITING, pool_size=4)

    def _create_engine(self, timeouts: dict[str, str], pool_size: int) -> sa.Engine:
        settings = timeouts | _SERVER_KEEPALIVES
        options = " ".join(f"-c {name}={value}" for name, value in settings.items())
        engine = sa.create_engine(
            self._url,
            pool_size=pool_size,
            pool_use_lifo=True,
            pool_pre_ping=True,  # a server that was restarted is no reason to fail
            connect_args={"options": options, **_KEEPALIVES},
            # An error's text may reach a log, and what is bound are orders.
            hide_parameters=True,
        )
        sa.event.listen(engine, "handle_error", _hide_rows)
        sa.event.listen(engine, "do_connect", self._connect)
        return engine

    def _connect(
        self,
        _dialect: object,
        _record: object,
        arguments: tuple[str, ...] | list[Any],
        options: dict[str, Any],
    ) -> psycopg.Connection[Any]:
        """Connect, and wait for a server that is starting."""
        deadline = time.monotonic() + self._patience
        while True:
            try:
                with self._pulse():
                    return psycopg.connect(*arguments, **options)
            except psycopg.OperationalError as error:
                state = _state(error) or ""
                if time.monotonic() > deadline or state.startswith(_HOPELESS):
                    raise
                time.sleep(_POLL_SECONDS)

    def exists(self) -> bool:
        """See the port: whoever reads it next is told what is wrong."""
        return True

    def making(self, is_made: Callable[[], bool], make: Callable[[], None]) -> None:
        """See the port. Waits for the server, which may be starting, too."""
        with self._connected() as connection:
            connection.execute("SELECT pg_advisory_lock(%s)", (_MAKING,))
            if not is_made():
                make()

    @contextmanager
    def writing(self) -> Iterator[None]:
        """See the port: writers wait for rows, not for turns."""
        yield

    def set_aside(self, close: Callable[[], None]) -> str | None:
        """Move the tables into a schema of their own."""
        close()
        with self._connected() as connection, connection.transaction():
            connection.execute("SELECT pg_advisory_xact_lock(%s)", (_MAKING,))
            others = connection.execute(
                "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
                " AND application_name = %s AND pid <> pg_backend_pid()",
                (APPLICATION,),
            ).fetchone()
            if others is not None and others[0]:
                raise LedgerUnavailable(
                    f"ledger {self.name} is in use by another process; let that end, or use "
                    "another one"
                )
            tables = connection.execute(
                "SELECT quote_ident(tablename) FROM pg_tables WHERE schemaname = current_schema()"
            ).fetchall()
            if not tables:
                return None
            aside = f"aside_{datetime.now(UTC):%Y%m%dt%H%M%S%f}"
            connection.execute(f"CREATE SCHEMA {aside}".encode())
            for (table,) in tables:
                connection.execute(f"ALTER TABLE {table} SET SCHEMA {aside}".encode())
        return f"in the schema {aside}"

    def beside(self, suffix: str) -> Path:
        """See the port."""
        return Path("var", f"{self._url.database}-{suffix}").absolute()

    def write_rows(
        self,
        connection: sa.Connection,
        insert: sa.Insert,
        columns: tuple[str, ...],
        rows: list[tuple[Any, ...]],
    ) -> int:
        """See the port: one statement with an array for each column."""
        if not rows:
            return 0
        statement = self._compiled.get((insert, columns))
        if statement is None:
            statement = self._compiled[insert, columns] = _with_arrays(insert, columns)
        arrays = tuple(_array(column) for column in zip(*rows, strict=True))
        return connection.exec_driver_sql(statement, arrays).rowcount

    @staticmethod
    def bind_list(values: list[Any]) -> str:
        """See the port."""
        return _array(tuple(values))

    @staticmethod
    def any_of(column: sa.ColumnElement[Any], parameter: str) -> sa.ColumnElement[bool]:
        """See the port."""
        values: Any = sa.bindparam(parameter, type_=_Array(_name_of(column.type)))
        return column == sa.func.any(values)

    @staticmethod
    def contains(column: sa.ColumnElement[Any], value: bytes) -> sa.ColumnElement[bool]:
        """See the port."""
        return sa.func.position(sa.literal(value, sa.LargeBinary).op("IN")(column)) > 0

    def recognise(self) -> None:
        """See the port. A server has no file that could be looked at."""

    @staticmethod
    def is_in_place() -> bool:
        """See the port. What is in place of it is found out by its id."""
        return True

    @staticmethod
    def read_identity(connection: sa.Connection) -> str | None:
        """See the port. The lock that reading takes keeps the table where it is until the end."""
        found: str | None = connection.exec_driver_sql("SELECT ledger_id FROM ledger").scalar()
        return found

    @staticmethod
    def diagnose(error: BaseException) -> Trouble:
        """See the port."""
        state = _state(error)
        if state is None and _is_of_the_driver(error):
            return Trouble.OF_THE_DATA
        if state is not None and state.startswith(_OF_THE_DATA):
            return Trouble.OF_THE_DATA
        return Trouble.LASTING if state and state.startswith(_LASTING) else Trouble.PASSING

    @staticmethod
    def has_refused(error: BaseException) -> bool:
        """See the port. After an ERROR the transaction is rolled back; a FATAL tells nothing."""
        diag = getattr(error, "diag", None)
        return diag is not None and diag.severity_nonlocalized == "ERROR"

    @staticmethod
    def remedy(error: BaseException) -> str:
        """See the port."""
        state = _state(error)
        # Without a state it is the connection that failed, and not the server that answered.
        known = (what for sign, what in _REMEDIES.items() if (state or "08").startswith(sign))
        said = str(error).partition("\n")[0]
        return next(known, f"answers with an error ({said}); see to the server")

    @contextmanager
    def _connected(self) -> Iterator[psycopg.Connection[Any]]:
        """Connect by hand, for what may take longer than a transaction."""
        address = self._url.set(drivername="postgresql").render_as_string(hide_password=False)
        connection = self._connect(None, None, (address,), {"autocommit": True, **_KEEPALIVES})
        try:
            yield connection
        finally:
            connection.close()


def _state(error: BaseException) -> str | None:
    """Find an error's SQLSTATE; libpq keeps none of a connection that was never made."""
    state: str | None = getattr(error, "sqlstate", None)
    if state is None and isinstance(error, psycopg.OperationalError):
        return next((each for sign, each in _REFUSALS.items() if re.search(sign, str(error))), None)
    return state


def _is_of_the_driver(error: BaseException) -> bool:
    """Whether the driver itself refused a value or a call, and no server was asked."""
    kinds = psycopg.DataError | psycopg.ProgrammingError | psycopg.NotSupportedError
    return isinstance(error, kinds)


def _hide_rows(context: sa.ExceptionContext) -> None:
    """Keep the first line alone of what the server says: the details behind it quote the row."""
    if getattr(context.original_exception, "sqlstate", None) is None:
        return
    for error in (context.original_exception, context.sqlalchemy_exception):
        if error is not None and error.args:
            error.args = (str(error.args[0]).partition("\n")[0], *error.args[1:])


class _Array(sa.types.UserDefinedType[str]):
    """An array as ``_array`` writes it, cast where it is bound: so it is read once, not by row."""

    cache_ok = True
    render_bind_cast = True

    def __init__(self, of: str) -> None:
        self.of = of

    def get_col_spec(self, **_: object) -> str:
        """Its name in SQL."""
        return f"{self.of}[]"


def _name_of(kind: sa.types.TypeEngine[Any]) -> str:
    return re.sub(r" COLLATE .*", "", kind.compile(dialect=_DIALECT))


def _array(values: tuple[Any, ...]) -> str:
    """Write values as PostgreSQL writes an array; the driver would take each one by itself."""
    found = next((value for value in values if value is not None), None)
    if isinstance(found, int):
        words = ["NULL" if value is None else str(value) for value in values]
    elif isinstance(found, bytes):
        words = ["NULL" if value is None else rf'"\\x{value.hex()}"' for value in values]
    else:
        words = ["NULL" if value is None else f'"{value}"' for value in values]
        if any("\\" in word or '"' in word[1:-1] for word in words):
            words = ["NULL" if value is None else _quoted(value) for value in values]
    return "{" + ",".join(words) + "}"


def _quoted(value: str) -> str:
    escaped = value.replace("\\", r"\\").replace('"', r"\"")
    return f'"{escaped}"'


def _with_arrays(insert: sa.Insert, columns: tuple[str, ...]) -> str:
    """Write an INSERT that takes its rows from arrays, in place of a list of values."""
    table = insert.table
    compiled = str(insert.compile(dialect=_DIALECT, column_keys=list(columns)))
    types = [_name_of(table.columns[name].type) for name in columns]
    arrays = ", ".join(f"%s::{each}[]" for each in types)
    names = ", ".join(f'"{name}"' for name in columns)
    head = f"INSERT INTO {table.name} ({names}) SELECT * FROM unnest({arrays})"  # noqa: S608
    conflict = compiled.partition(" ON CONFLICT ")
    return head + "".join(conflict[1:]) if conflict[1] else head
