"""Accepted orders, the latest first, a page at a time: what searching and looking on need.

There is no index of customers. A customer's orders lie in one partition, whose journal bodies are
searched as bytes; that reads some ten megabytes for a million orders, and costs intake nothing.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import sqlalchemy as sa
from typing_extensions import override

from shared import clock
from shared.ledger.database.tables import cursors, identities, journal, outcomes, pending
from shared.ledger.entries import Placed
from shared.schema import decode_batch
from shared.texts import legible

if TYPE_CHECKING:
    from collections.abc import Iterator

    from shared.ledger.ledger import Ledger

Outcomes = dict[int, "sa.Row[Any]"]


class Listed(Placed):
    """An order in a listing; times are RFC 3339."""

    reason: str | None
    accepted_at: str
    settled_at: str | None


class PageCursor(NamedTuple):
    """Where a page ended: everything after it was accepted earlier, or has a lower number."""

    accepted_at: int
    partition: int
    number: int

    @override
    def __str__(self) -> str:
        return f"{self.accepted_at}-{self.partition}-{self.number}"


def parse_cursor(text: str) -> PageCursor:
    """Read a page cursor as it was written.

    Raises:
        ValueError: It is none.
    """
    match = re.fullmatch(r"(\d{1,18})-(\d{1,4})-(\d{1,18})", text, flags=re.ASCII)
    if match is None:
        raise ValueError("must be the cursor of an earlier page")
    return PageCursor(*map(int, match.groups()))


class Page(NamedTuple):
    """Some of the orders that were asked for.

    Attributes:
        orders: The latest first.
        after: Where the next page begins; None if this is the last one.
    """

    orders: list[Listed]
    after: PageCursor | None


def list_orders(
    ledger: Ledger,
    connection: sa.Connection,
    *,
    status: str | None = None,
    order_id: str | None = None,
    customer_id: str | None = None,
    after: PageCursor | None = None,
    limit: int = 50,
) -> Page:
    """List accepted orders, the latest first.

    Args:
        ledger: Whose.
        connection: One snapshot of it.
        status: Only those that are ``open``, ``paid``, ``declined`` or ``dead``.
        order_id: Only this one.
        customer_id: Only this customer's.
        after: Where the page before this one ended.
        limit: Most orders in the page.
    """
    found: list[Listed] = []
    cursor: PageCursor | None = None
    for entry in _entries(ledger, connection, status, order_id, customer_id, after):
        last = entry.last
        if after is not None and (entry.accepted_at, entry.partition) == after[:2]:
            last = min(last, after.number - 1)
        settled = _outcomes(connection, entry.partition, entry.first, last)
        orders = decode_batch(entry.body).orders
        for number in range(last, entry.first - 1, -1):
            order, outcome = orders[number - entry.first], settled.get(number)
            now = "open" if outcome is None else outcome.status
            # A retried order is listed where it is now, under its new number.
            if now == "retried" or status not in {None, now}:
                continue
            if customer_id not in {None, order.customer_id}:
                continue
            if order_id not in {None, order.order_id}:
                continue
            if len(found) == limit:
                return Page(found, cursor)
            cursor = PageCursor(entry.accepted_at, entry.partition, number)
            found.append(
                {
                    "order_id": order.order_id,
                    "customer_id": order.customer_id,
                    "status": now,
                    "total": order.total,
                    "currency": order.currency,
                    "partition": entry.partition,
                    "number": number,
                    "attempts": outcome.attempts if outcome else entry.attempts,
                    "reason": legible(outcome.reason) if outcome and outcome.reason else None,
                    "accepted_at": clock.to_text(entry.accepted_at),
                    "settled_at": clock.to_text(outcome.settled_at) if outcome else None,
                }
            )
    return Page(found, None)


def _entries(
    ledger: Ledger,
    connection: sa.Connection,
    status: str | None,
    order_id: str | None,
    customer_id: str | None,
    after: PageCursor | None,
) -> Iterator[sa.Row[Any]]:
    """Yield the journal entries that can hold what is asked for, as far as anybody reads on."""
    key = sa.tuple_(journal.c.accepted_at, journal.c.partition, journal.c.first)
    query = sa.select(
        journal.c.partition,
        journal.c.first,
        journal.c.last,
        journal.c.accepted_at,
        journal.c.attempts,
        journal.c.body,
    ).order_by(journal.c.accepted_at.desc(), journal.c.partition.desc(), journal.c.first.desc())
    if after is not None:
        query = query.where(key < after)
    if order_id is not None:
        query = query.join(
            identities,
            sa.and_(
                identities.c.order_id == order_id,
                identities.c.partition == journal.c.partition,
                identities.c.number.between(journal.c.first, journal.c.last),
            ),
        )
    if customer_id is not None:
        needle = f'"customer_id":"{customer_id}"'.encode()
        query = query.where(
            journal.c.partition == ledger.partition_of(customer_id),
            ledger.database.backend.contains(journal.c.body, needle),
        )
    if status == "open":
        query = query.join(cursors, cursors.c.partition == journal.c.partition)
        waits = sa.exists().where(
            pending.c.partition == journal.c.partition,
            pending.c.number.between(journal.c.first, journal.c.last),
        )
        query = query.where((journal.c.last > cursors.c.number) | ((cursors.c.pending > 0) & waits))
    elif status is not None:
        # Written out, so that the index of the dead applies.
        is_wanted = outcomes.c.status == sa.bindparam("status", status, literal_execute=True)
        query = query.where(
            sa.exists().where(
                outcomes.c.partition == journal.c.partition,
                outcomes.c.number.between(journal.c.first, journal.c.last),
                is_wanted,
            )
        )
    with connection.execution_options(yield_per=4).execute(query) as rows:
        for row in rows:
            yield cast("sa.Row[Any]", row)


def _outcomes(connection: sa.Connection, partition: int, first: int, last: int) -> Outcomes:
    rows = connection.execute(
        sa.select(outcomes).where(
            outcomes.c.partition == partition, outcomes.c.number.between(first, last)
        )
    )
    return {row.number: row for row in rows}


def statuses(ledger: Ledger, connection: sa.Connection, order_ids: list[str]) -> dict[str, str]:
    """Look up what has become of accepted orders so far; who was never accepted is not in it."""
    database = ledger.database
    query = database.prepared(
        "statuses",
        lambda: (
            sa.select(identities.c.order_id, sa.func.coalesce(outcomes.c.status, "open"))
            .join(
                outcomes,
                (outcomes.c.partition == identities.c.partition)
                & (outcomes.c.number == identities.c.number),
                isouter=True,
            )
            .where(database.backend.any_of(identities.c.order_id, "values"))
        ),
    )
    rows = connection.execute(query, {"values": database.backend.bind_list(order_ids)})
    return dict(rows.all())
