"""Opening a ledger: made on first use, recognised afterwards, set aside for a fresh start."""

from __future__ import annotations

import uuid
import zlib
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from shared import clock
from shared.errors import ConfigurationError, LedgerUnavailable
from shared.ledger.database import tables
from shared.ledger.database.database import Database
from shared.ledger.doubts import check_doubts
from shared.ledger.migration import CARRIED_OVER, migrate
from shared.logs import Logger

if TYPE_CHECKING:
    from shared.ledger.database.backend import Pulse
    from shared.settings import Settings


log = Logger("ledger")


@dataclass(frozen=True)
class Ledger:
    """An open ledger and the settings that it was made with.

    Attributes:
        ledger_id: Tells its messages from those of other ledgers.
        partitions: How many shards the customers are divided into.
        opening_balance: What a new account starts with, in minor units.
    """

    database: Database
    ledger_id: str
    partitions: int
    opening_balance: int

    def partition_of(self, customer_id: str) -> int:
        """Choose the partition of a customer: the same on every machine, for ever."""
        return zlib.crc32(customer_id.encode()) % self.partitions

    @property
    def name(self) -> str:
        """The ledger's URL, its password masked."""
        return self.database.name


def open_ledger(
    settings: Settings,
    *,
    create: bool = True,
    patience: float | None = None,
    pulse: Pulse | None = None,
) -> Ledger:
    """Open the ledger at ``LEDGER_URL``.

    Args:
        settings: Where it is, and how to make it.
        create: Whether to make one where there is none.
        patience: Seconds that a transaction may wait for other writers; None is for ever.
        pulse: Surrounds every wait for a server that does not answer: a sign of life.

    Raises:
        LedgerUnavailable: There is none, it cannot be opened, or another version made it.
        ConfigurationError: It was made with other settings than those given now.
    """
    database = Database(settings.ledger_url, patience, pulse, settings.ledger_password_file)
    if create:
        if database.backend.exists():
            version = database.ask(partial(_find_version, database))
            if version in CARRIED_OVER:
                migrate(database, settings, version)
        database.making(
            lambda connection: _read(database, connection) is not None, partial(_make, settings)
        )
    elif not database.backend.exists():
        raise LedgerUnavailable(f"ledger {database.name}: there is none yet; orderly run makes one")
    row = database.ask(partial(_read, database))
    if row is None:
        raise LedgerUnavailable(f"ledger {database.name}: it is empty; orderly run fills it")
    _check(database, row, settings)
    if create and database.backend.hazard:
        log.warning(
            "the ledger's server may lose orders in a power cut",
            ledger=database.name,
            settings=database.backend.hazard,
        )
    database.recognise(row.ledger_id)
    return Ledger(database, row.ledger_id, row.partitions, row.opening_balance)


def why_closed(settings: Settings) -> str | None:
    """Say why whoever comes now is not let in, if so: a server may be full although it runs."""
    database = Database(
        settings.ledger_url, patience=0.0, password_file=settings.ledger_password_file
    )
    try:
        with database.read():
            return None
    except LedgerUnavailable as error:
        return str(error)
    finally:
        database.close()


def set_aside(settings: Settings) -> str | None:
    """Put the ledger aside, so that the next one starts empty; return where it is now.

    Raises:
        ConfigurationError: Orders in it may be charged, and nobody would know any more.
        LedgerUnavailable: Another process uses it, or it is no ledger at all.
    """
    database = Database(settings.ledger_url)
    if not database.backend.exists():
        return None
    with database.read() as connection:
        if _find_version(database, connection) == tables.SCHEMA_VERSION:
            check_doubts(database, connection)
    return database.set_aside()


def _read(database: Database, connection: sa.Connection) -> sa.Row[Any] | None:
    version = _find_version(database, connection)
    if version is None:
        return None
    if version != tables.SCHEMA_VERSION:
        remedy = "use the program that made it, or another LEDGER_URL"
        if version in CARRIED_OVER:
            remedy = "orderly migrate carries it over"
        raise LedgerUnavailable(
            f"ledger {database.name} has schema version {version}, this program needs "
            f"{tables.SCHEMA_VERSION}; {remedy}"
        )
    return connection.execute(sa.select(tables.ledger)).one()


def _find_version(database: Database, connection: sa.Connection) -> int | None:
    """Read the schema version, which every version keeps in the same place; None if empty."""
    inspector = sa.inspect(connection)
    version: int | None = None
    if inspector.has_table(tables.ledger.name):
        columns = {column["name"] for column in inspector.get_columns(tables.ledger.name)}
        if columns >= {tables.ledger.c.ledger_id.name, tables.ledger.c.schema_version.name}:
            version = connection.scalar(sa.select(tables.ledger.c.schema_version))
    if version is None and (obstacle := database.backend.in_the_way(connection)):
        raise LedgerUnavailable(
            f"ledger {database.name}: {obstacle}; name another one in LEDGER_URL"
        )
    return version


def _make(settings: Settings, connection: sa.Connection) -> None:
    now = clock.now_us()
    numbers = range(settings.partitions)
    standing = {"number": 0, "moved_at": now, "attempts": 0, "failures": 0, "singly_until": 0}
    tables.metadata.create_all(connection, checkfirst=False)
    connection.execute(
        tables.heads.insert(),
        [{"partition": number, "number": 0, "created": 0} for number in numbers],
    )
    connection.execute(
        tables.cursors.insert(), [{"partition": number, **standing} for number in numbers]
    )
    connection.execute(tables.departed.insert().values(id=0, restarts=0, meter="[]"))
    connection.execute(
        tables.ledger.insert().values(
            ledger_id=uuid.uuid4().hex,
            schema_version=tables.SCHEMA_VERSION,
            partitions=settings.partitions,
            opening_balance=settings.opening_balance,
            created_at=now,
        )
    )


def _check(database: Database, row: sa.Row[Any], settings: Settings) -> None:
    for name in ("partitions", "opening_balance"):
        made_with, wanted = getattr(row, name), getattr(settings, name)
        if settings.given(name) and wanted != made_with:
            raise ConfigurationError(
                f"{name.upper()}={wanted}, but ledger {database.name} was made with {made_with}; "
                "leave the setting out, or use another ledger"
            )
