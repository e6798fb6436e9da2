"""Which gateway a ledger's orders are charged through: one at a time, for a doubt is about one."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import sqlalchemy as sa

from shared.errors import ConfigurationError, LedgerInterrupted, LedgerUncertain
from shared.ledger.database.backend import BUSY_SECONDS
from shared.ledger.database.database import AGAIN_SECONDS
from shared.ledger.database.tables import ledger as ledger_table
from shared.ledger.database.tables import pending
from shared.ledger.workers import present

if TYPE_CHECKING:
    from shared.ledger.ledger import Ledger

OURS = "ledger"
"""The gateway that is no outside one."""


def claim_gateway(ledger: Ledger, name: str) -> None:
    """Note that orders are charged through a gateway from now on.

    Raises:
        ConfigurationError: Another one is at work, or has left orders that it knows.
        LedgerUnavailable: It cannot be noted.
    """
    deadline = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            _claim(ledger, name)
        except (LedgerInterrupted, LedgerUncertain):  # it may be noted twice
            if time.monotonic() > deadline:
                raise
            time.sleep(AGAIN_SECONDS)
        else:
            return


def _claim(ledger: Ledger, name: str) -> None:
    with ledger.database.write() as connection:
        row = connection.execute(sa.select(ledger_table.c.gateway).with_for_update()).one()
        known = row.gateway or OURS
        if known == name:
            return
        waiting = connection.scalar(sa.select(sa.func.count()).select_from(pending))
        if waiting:
            raise ConfigurationError(
                f"PAYMENT_GATEWAY={name}, but {known} has {waiting:,} orders of ledger "
                f"{ledger.name} under way, and may have charged them; use that one until they are "
                "settled"
            )
        if present(connection):
            raise ConfigurationError(
                f"PAYMENT_GATEWAY={name}, but workers of ledger {ledger.name} charge through "
                f"{known}; end those first (ones that were killed count for ten seconds)"
            )
        connection.execute(ledger_table.update().values(gateway=None if name == OURS else name))


def check_gateway(ledger: Ledger, name: str) -> None:
    """See that a ledger's orders are charged through no other gateway.

    Raises:
        ConfigurationError: They are.
    """
    with ledger.database.read() as connection:
        known = connection.scalar(sa.select(ledger_table.c.gateway))
    if known not in {None, name}:
        raise ConfigurationError(
            f"PAYMENT_GATEWAY={name}, but orders of ledger {ledger.name} are charged through "
            f"{known}; name that one"
        )
