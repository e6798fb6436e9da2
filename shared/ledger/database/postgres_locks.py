"""Partitions of a ledger in PostgreSQL, held by advisory locks of one session.

The server frees them when the session ends: at once when its process is killed, and after
``IDLE_SECONDS`` when it is stopped or cut off. All that the holder writes goes through the same
session, so who has lost the locks has lost the way to write.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any
from zlib import crc32

import psycopg
import sqlalchemy as sa
from typing_extensions import override

from shared.errors import ConfigurationError
from shared.ledger.database.backend import Locks

if TYPE_CHECKING:
    from collections.abc import Sequence

IDLE_SECONDS = 3
"""How long a session may be silent before the server ends it."""

_TAKE = (
    "SELECT wanted.partition FROM unnest(%s::int[]) AS wanted (partition)"
    " WHERE pg_try_advisory_lock(%s, wanted.partition)"
)
_RELEASE = (
    "SELECT count(pg_advisory_unlock(%s, held.partition))"
    " FROM unnest(%s::int[]) AS held (partition)"
)
# Versions before 14 do not know it; there the supervisor ends a worker that is stuck.
_WAKE = "SELECT set_config(name, %s, false) FROM pg_settings WHERE name = 'idle_session_timeout'"


class SessionLocks(Locks):
    """The locks, and the session that has them.

    Args:
        engine: Opens sessions that may write.
        ledger_id: Whose partitions they are.
        name: The ledger's, for errors.
    """

    def __init__(self, engine: sa.Engine, ledger_id: str, name: str) -> None:
        self._ledger = crc32(ledger_id.encode()) - 2**31
        self.connection: sa.Connection = engine.connect()
        self.connection.detach()  # what is set in it is not for the next one
        try:
            if self.connection.info["is_shared"]:
                self._check_pooler(engine, name)
            self._ask(_WAKE, f"{IDLE_SECONDS}s")
        except BaseException:
            self.connection.close()
            raise

    @property
    @override
    def are_lost(self) -> bool:
        if self.connection.closed or self.connection.invalidated:
            return True
        driver: Any = self.connection.connection.dbapi_connection
        return driver is None or bool(driver.closed)

    @override
    def take(self, partitions: Sequence[int]) -> list[int]:
        return [number for (number,) in self._ask(_TAKE, list(partitions), self._ledger)]

    @override
    def release(self, partitions: Sequence[int]) -> None:
        self._ask(_RELEASE, self._ledger, list(partitions))

    @override
    def keep(self) -> None:
        self._ask("SELECT 1")

    @override
    def close(self) -> None:
        with suppress(sa.exc.SQLAlchemyError, psycopg.Error):
            if self.are_lost and not self.connection.closed:
                self.connection.invalidate()  # there is nothing to be rolled back
            self.connection.close()

    def _ask(self, statement: str, *parameters: Any) -> list[tuple[Any, ...]]:  # noqa: ANN401
        # Past SQLAlchemy, which would begin a transaction.
        driver: Any = self.connection.connection.dbapi_connection
        rows: list[tuple[Any, ...]] = driver.execute(statement, parameters or None).fetchall()
        return rows

    def _check_pooler(self, engine: sa.Engine, name: str) -> None:
        """See whether the pooler lends this session to others while it rests."""
        (mine,) = self._ask("SELECT pg_backend_pid()")[0]
        with engine.connect() as other, other.begin():
            theirs = other.exec_driver_sql("SELECT pg_backend_pid()").scalar()
            (now,) = self._ask("SELECT pg_backend_pid()")[0]
        if theirs == mine or now != mine:
            raise ConfigurationError(
                f"ledger {name} is behind a pooler that shares its sessions, and whoever calls an "
                "outside gateway needs one to itself; name the server itself in LEDGER_URL, or "
                "have the pooler lend whole sessions (pool_mode=session)"
            )
