"""Carrying a ledger over from an earlier version of its tables, in one transaction.

Only a process that takes orders in or makes ledgers does it, and only while nobody else uses the
ledger: one of the earlier version would go on by its own rules.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import sqlalchemy as sa
from sqlalchemy.schema import CreateColumn

from shared.errors import LedgerUnavailable
from shared.ledger.database.tables import (
    SCHEMA_VERSION,
    cursors,
    heads,
    journal,
    ledger,
    outcomes,
    pending,
    resolutions,
    workers,
)
from shared.logs import Logger

if TYPE_CHECKING:
    from shared.ledger.database.database import Database
    from shared.settings import Settings

CARRIED_OVER = frozenset({4})
"""The versions that can be."""

_NEW_COLUMNS = (
    ledger.c.gateway,
    cursors.c.pending,
    journal.c.generation,
    outcomes.c.generation,
    outcomes.c.reference,
    outcomes.c.doubtful_since,
    workers.c.calls_out,
)

log = Logger("ledger")


def migrate(database: Database, settings: Settings, version: int) -> None:
    """Carry a ledger over to this version's tables.

    Raises:
        LedgerUnavailable: Somebody else uses it, or what is open in it forbids it.
    """
    is_done = False

    def change(connection: sa.Connection) -> None:
        nonlocal is_done
        if connection.scalar(sa.select(ledger.c.schema_version)) != version:
            return  # somebody else was faster
        _check_open(database, settings, connection)
        for column in _NEW_COLUMNS:
            definition = CreateColumn(column).compile(dialect=connection.dialect)
            connection.exec_driver_sql(f"ALTER TABLE {column.table.name} ADD COLUMN {definition}")
        for table in (pending, resolutions):
            table.create(connection, checkfirst=False)
        connection.execute(ledger.update().values(schema_version=SCHEMA_VERSION))
        is_done = True

    database.migrating(change)
    if is_done:
        log.info(
            "ledger carried over", ledger=database.name, version=SCHEMA_VERSION, earlier=version
        )


def _check_open(database: Database, settings: Settings, connection: sa.Connection) -> None:
    """See that no order is open that an outside gateway may know by another key."""
    if settings.payment_gateway == "ledger":
        return
    count = connection.scalar(
        sa.select(sa.func.sum(heads.c.number - cursors.c.number)).where(
            heads.c.partition == cursors.c.partition
        )
    )
    if count:
        raise LedgerUnavailable(
            f"ledger {database.name} is of an earlier version, and {count:,} of its orders are "
            f"open: its gateway may have been asked for them under other keys; settle them with "
            f"the program that made it, and come back"
        )
