"""Orders that may be charged while nobody knows: counted, and not to be forgotten."""

from __future__ import annotations

from typing import TYPE_CHECKING

import sqlalchemy as sa

from shared.errors import ConfigurationError
from shared.ledger.database.tables import outcomes, pending

if TYPE_CHECKING:
    from shared.ledger.database.database import Database


def count_doubtful(connection: sa.Connection) -> int:
    """Count those that are open."""
    return connection.scalar(_OPEN) or 0


def check_doubts(database: Database, connection: sa.Connection) -> None:
    """See that no order may be charged of which nobody would know any more.

    Raises:
        ConfigurationError: Some may.
    """
    count = count_doubtful(connection) + (connection.scalar(_DEAD) or 0)
    if count:
        raise ConfigurationError(
            f"{count:,} orders of ledger {database.name} are in doubt: they may be charged; "
            "settle them (orderly run, orderly dead list), or use another LEDGER_URL"
        )


_OPEN = sa.select(sa.func.count()).where(pending.c.doubtful_since.is_not(None))
_DEAD = sa.select(sa.func.count()).where(
    # Written out, so that the index of the dead applies.
    outcomes.c.status == sa.bindparam(None, "dead", literal_execute=True),
    outcomes.c.doubtful_since.is_not(None),
)
