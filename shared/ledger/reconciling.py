"""What a comparison with a backend's book reads of the ledger, and the findings that it files.

Nothing here gets an outcome: whoever holds an order's partition settles it by what is filed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import sqlalchemy as sa

from shared.ledger.database.hold import Hold
from shared.ledger.database.tables import identities, outcomes, pending, resolutions
from shared.ledger.dead_letters import IS_DEAD, UNDECIDED, dead_letters
from shared.ledger.reopening import reopen
from shared.ledger.resolutions import file_resolution

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from shared.ledger.ledger import Ledger

PAGE = 500
"""Orders that are looked up at once."""


class Standing(NamedTuple):
    """What the ledger says of an order now; times in microseconds since 1970.

    Attributes:
        status: Of its present number; None while it is open.
        amount: Of its outcome, in minor units.
        generation: Of the last key in its outcome; None where no outside gateway was asked.
        reference: What the backend calls the charge that paid it.
        doubtful_since: If it is dead: since when it may have been charged.
        changed_at: If it is dead: when somebody discarded it.
        state: Of its row, while it is taken up.
        open_doubt: Since when it may have been charged, while it is taken up.
        found: What somebody has filed about it, and nobody has settled yet.
    """

    order_id: str
    partition: int
    number: int
    status: str | None
    amount: int | None
    currency: str | None
    generation: int | None
    reference: str | None
    reason: str | None
    settled_at: int | None
    doubtful_since: int | None
    changed_at: int | None
    state: str | None
    open_doubt: int | None
    found: str | None

    @property
    def in_doubt(self) -> bool:
        """Whether it may have been charged, and nobody knows."""
        return self.doubtful_since is not None or self.open_doubt is not None


class PaidOrder(NamedTuple):
    """An order that an outside gateway was asked for, and paid."""

    partition: int
    number: int
    order_id: str


def standings(
    ledger: Ledger, connection: sa.Connection, order_ids: Sequence[str]
) -> dict[str, Standing]:
    """Look orders up; who was never accepted is not in it."""
    database = ledger.database
    query = database.prepared(
        "standings", lambda: _STANDINGS.where(database.backend.any_of(identities.c.order_id, "ids"))
    )
    found: dict[str, Standing] = {}
    for start in range(0, len(order_ids), PAGE):
        values = database.backend.bind_list(list(order_ids[start : start + PAGE]))
        for row in connection.execute(query, {"ids": values}):
            found[row.order_id] = Standing(*row)
    return found


def paid_orders(connection: sa.Connection) -> Iterator[PaidOrder]:
    """Yield what was paid through an outside gateway; nobody was asked for a total of nothing."""
    rows = connection.execution_options(yield_per=1000).execute(_PAID)
    for row in rows:
        yield PaidOrder(*row)


def doubtful_orders(connection: sa.Connection) -> list[str]:
    """Name the orders that may have been charged, open and dead ones."""
    return [
        *connection.execute(_OPEN_DOUBTS).scalars(),
        *connection.execute(_DEAD_DOUBTS).scalars(),
    ]


def file_finding(ledger: Ledger, standing: Standing, status: str, reference: str) -> bool:
    """File what a book says of an order in doubt that is taken up; whether that could be done.

    Args:
        ledger: Whose order it is.
        standing: As it was when the book said so.
        status: ``paid`` or ``declined``.
        reference: What the backend calls the charge; of one that is declined, the reason.
    """
    with ledger.database.write() as connection:
        found = connection.execute(
            sa.select(pending.c.doubtful_since, pending.c.generation)
            .where(
                pending.c.partition == standing.partition,
                pending.c.number == standing.number,
                pending.c.order_id == standing.order_id,
            )
            .with_for_update()
        ).one_or_none()
        if found is None or found.doubtful_since is None:
            return False
        if status == "declined" and found.generation != standing.generation:
            return False  # it has been asked for under another key since
        _file(ledger, connection, standing.order_id, status, reference)
    return True


def file_before_call(ledger: Ledger, standing: Standing, reference: str) -> bool:
    """File that an open order is paid which nobody is to ask for; whether that could be done.

    Nobody may be about to: the order's partition is held meanwhile, as who charges holds it.

    Args:
        ledger: Whose order it is.
        standing: As it was when the book said so: not called, and perhaps not even taken up.
        reference: What the backend calls the charge.
    """
    hold = Hold(ledger.database)
    try:
        if not hold.take({standing.partition}):
            return False
        with hold.write() as connection:
            now = standings(ledger, connection, [standing.order_id])
            if now.get(standing.order_id) != standing:
                return False
            _file(ledger, connection, standing.order_id, "paid", reference)
        return True
    finally:
        hold.close()


def reopen_as_found(ledger: Ledger, order_id: str, status: str, reference: str) -> bool:
    """Open a dead order again, to be settled as a book says; whether it was dead still.

    Args:
        ledger: Whose order it is.
        order_id: Which; not one that is discarded.
        status: ``paid``, ``declined``, or ``free``: not charged, and asked for under the next key.
        reference: As above.
    """
    with ledger.database.write() as connection:
        for letter in dead_letters(connection, [order_id]):
            if reopen(ledger, connection, letter.partition, [letter], UNDECIDED):
                if status != "free":
                    _file(ledger, connection, order_id, status, reference)
                return True
    return False


def _file(
    ledger: Ledger, connection: sa.Connection, order_id: str, status: str, reference: str
) -> None:
    is_paid = status == "paid"
    file_resolution(
        ledger,
        connection,
        order_id,
        status,
        reference if is_paid else None,
        by="reconcile",
        reason=None if is_paid else reference,
    )


_STANDINGS = (
    sa.select(
        identities.c.order_id,
        identities.c.partition,
        identities.c.number,
        outcomes.c.status,
        outcomes.c.amount,
        outcomes.c.currency,
        sa.func.coalesce(outcomes.c.generation, pending.c.generation),
        outcomes.c.reference,
        outcomes.c.reason,
        outcomes.c.settled_at,
        outcomes.c.doubtful_since,
        outcomes.c.changed_at,
        pending.c.state,
        pending.c.doubtful_since,
        resolutions.c.status,
    )
    .join(
        outcomes,
        (outcomes.c.partition == identities.c.partition)
        & (outcomes.c.number == identities.c.number),
        isouter=True,
    )
    .join(
        pending,
        (pending.c.partition == identities.c.partition) & (pending.c.number == identities.c.number),
        isouter=True,
    )
    .join(resolutions, resolutions.c.order_id == identities.c.order_id, isouter=True)
)
_PAID = (
    sa.select(outcomes.c.partition, outcomes.c.number, outcomes.c.order_id)
    .where(outcomes.c.status == "paid", outcomes.c.generation.is_not(None), outcomes.c.amount > 0)
    .order_by(outcomes.c.partition, outcomes.c.number)
)
_OPEN_DOUBTS = sa.select(pending.c.order_id).where(pending.c.doubtful_since.is_not(None))
_DEAD_DOUBTS = sa.select(outcomes.c.order_id).where(IS_DEAD, outcomes.c.doubtful_since.is_not(None))
