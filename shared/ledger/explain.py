"""One order's whole story, from the journal to the money."""

from __future__ import annotations

from operator import itemgetter
from typing import TYPE_CHECKING, Any, NotRequired, TypedDict

import sqlalchemy as sa

from shared import clock
from shared.ledger.database.tables import failures, identities, outcomes, transfers
from shared.ledger.entries import Placed, row_at
from shared.schema import decode_batch
from shared.texts import legible

if TYPE_CHECKING:
    from collections.abc import Iterator


class Transfer(TypedDict):
    """Money that moved, in minor units; times are RFC 3339 here and below."""

    debit: str
    credit: str
    amount: int
    currency: str
    at: str


class Event(TypedDict):
    """Something that happened to an order, with what there is to say of it."""

    at: str
    event: str
    number: NotRequired[int]
    run_id: NotRequired[str]
    attempts: NotRequired[int]
    attempt: NotRequired[int]
    reason: NotRequired[str | None]
    worker: NotRequired[str]


class Story(Placed):
    """An order, what was paid for it, and its events from the first to the last."""

    transfers: list[Transfer]
    history: list[Event]


def explain(connection: sa.Connection, order_id: str) -> Story | None:
    """Tell the story of an order; None if it was never accepted."""
    identity = connection.execute(
        sa.select(identities).where(identities.c.order_id == order_id)
    ).one_or_none()
    if identity is None:
        return None
    partition, number = identity.partition, identity.number
    entry = row_at(connection, partition, number)
    order = decode_batch(entry.body).orders[number - entry.first]
    past = connection.execute(
        sa.select(outcomes)
        .where(outcomes.c.partition == partition, outcomes.c.order_id == order_id)
        .order_by(outcomes.c.number)
    ).all()
    now = past[-1] if past and past[-1].number == number else None
    history = [event for outcome in past for event in _settled(connection, outcome)]
    if now is None:
        history.append(_accepted(entry, number))
    numbered = {(partition, outcome.number) for outcome in past} | {(partition, number)}
    failed = [event for each in numbered for event in _failed(connection, *each)]
    attempts = now.attempts if now else max([entry.attempts, *(each["attempt"] for each in failed)])
    return {
        "order_id": order_id,
        "customer_id": order.customer_id,
        "status": now.status if now else "open",
        "total": order.total,
        "currency": order.currency,
        "partition": partition,
        "number": number,
        "attempts": attempts,
        "transfers": list(_transfers(connection, order_id)),
        "history": sorted(history + failed, key=itemgetter("at")),
    }


def _settled(connection: sa.Connection, outcome: sa.Row[Any]) -> Iterator[Event]:
    yield _accepted(row_at(connection, outcome.partition, outcome.number), outcome.number)
    yield {
        "at": clock.to_text(outcome.settled_at),
        "event": "dead" if outcome.status == "retried" else outcome.status,
        "attempts": outcome.attempts,
        "reason": outcome.reason and legible(outcome.reason),
        "worker": legible(outcome.worker),
    }
    if outcome.changed_at:
        event = "retried" if outcome.status == "retried" else "discarded"
        yield {"at": clock.to_text(outcome.changed_at), "event": event}


def _accepted(entry: sa.Row[Any], number: int) -> Event:
    return {
        "at": clock.to_text(entry.accepted_at),
        "event": "accepted",
        "number": number,
        "run_id": entry.run_id,
    }


def _failed(connection: sa.Connection, partition: int, number: int) -> Iterator[Event]:
    rows = connection.execute(
        sa.select(failures).where(failures.c.partition == partition, failures.c.number == number)
    )
    for row in rows:
        yield {
            "at": clock.to_text(row.failed_at),
            "event": "failed",
            "attempt": row.attempt,
            "reason": legible(row.reason),
            "worker": legible(row.worker),
        }


def _transfers(connection: sa.Connection, order_id: str) -> Iterator[Transfer]:
    for row in connection.execute(sa.select(transfers).where(transfers.c.order_id == order_id)):
        yield {
            "debit": row.debit,
            "credit": row.credit,
            "amount": row.amount,
            "currency": row.currency,
            "at": clock.to_text(row.made_at),
        }
