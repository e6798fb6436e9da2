"""What somebody found out about orders that may have been charged: filed, until it is settled so.

Whoever holds the order's partition settles it; here nothing gets an outcome.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import sqlalchemy as sa

from shared import clock
from shared.ledger.database.tables import resolutions
from shared.texts import legible

if TYPE_CHECKING:
    from collections.abc import Sequence

    from shared.ledger.ledger import Ledger

REFERENCE_LENGTH = 200


class Resolution(NamedTuple):
    """What was found out about an order: it is ``paid``, ``declined``, or ``free`` to be called."""

    order_id: str
    status: str
    reference: str | None
    reason: str | None


def has_resolutions(connection: sa.Connection) -> bool:
    """Whether anything was filed that is not settled yet; as a rule there is nothing."""
    return connection.execute(_ANY).first() is not None


def read_resolutions(
    ledger: Ledger, connection: sa.Connection, order_ids: Sequence[str]
) -> dict[str, Resolution]:
    """Look up what was found out about some orders."""
    if not order_ids:
        return {}
    columns = tuple(resolutions.c[name] for name in Resolution._fields)
    query = ledger.database.select_any(columns, resolutions.c.order_id)
    values = ledger.database.backend.bind_list(list(order_ids))
    found = [Resolution(*row) for row in connection.execute(query, {"values": values})]
    return {each.order_id: each for each in found}


def file_resolution(
    ledger: Ledger,
    connection: sa.Connection,
    order_id: str,
    status: str,
    reference: str | None = None,
    *,
    by: str,
    reason: str | None = None,
) -> None:
    """File what was found out about an order that is open; the first finding stands.

    Args:
        ledger: Whose order it is.
        connection: A transaction that has seen, and locked, that it is open.
        order_id: Which.
        status: ``paid``, ``declined`` or ``free``.
        reference: What the backend calls the charge.
        by: Who has found out.
        reason: Why it was declined.
    """
    connection.execute(
        ledger.database.insert_new(resolutions),
        {
            "order_id": order_id,
            "status": status,
            "reference": reference and legible(reference, REFERENCE_LENGTH),
            "reason": reason and legible(reason),
            "filed_by": by,
            "filed_at": clock.now_us(),
        },
    )


_ANY = sa.select(resolutions.c.order_id).limit(1)
