"""The ledger from the inside: blocks of orders to put in, and what the tables say afterwards."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from shared.ledger.database import tables
from shared.ledger.journal import Appended, Candidate, append, digest
from shared.ledger.verification.verify import Standing, verify, verify_since
from shared.schema import build_order
from tests.support.replay import FinalState

if TYPE_CHECKING:
    from collections.abc import Sequence

    from shared.ledger.ledger import Ledger


def order(
    order_id: str, customer_id: str = "c-1", amount: int = 100, currency: str = "USD"
) -> dict[str, Any]:
    """Write an order of one item."""
    return {
        "order_id": order_id,
        "customer_id": customer_id,
        "currency": currency,
        "placed_at": "2026-01-31T09:30:00Z",
        "items": ({"sku": "tea", "quantity": 1, "unit_price": amount},),
    }


def without_id(customer_id: str = "c-1", amount: int = 100) -> dict[str, Any]:
    """Write an order that leaves its id to the header, or to the service."""
    fields = order("", customer_id, amount)
    del fields["order_id"]
    return fields


def candidate(ledger: Ledger, fields: dict[str, Any]) -> Candidate:
    """Make an order ready for the journal, as intake does."""
    built, canonical = build_order(fields)
    partition = ledger.partition_of(built.customer_id)
    return Candidate(built.order_id, partition, canonical, digest(canonical))


def take_in(
    ledger: Ledger,
    block: Sequence[dict[str, Any]],
    *,
    batch_size: int = 200,
    max_pending: int = 100_000,
    partly: bool = False,
) -> Appended:
    """Accept a block of orders."""
    candidates = [candidate(ledger, fields) for fields in block]
    return append(
        ledger,
        lambda: candidates,
        run_id="run-1",
        batch_size=batch_size,
        max_pending=max_pending,
        partly=partly,
    )


def dump(ledger: Ledger) -> dict[str, list[tuple[Any, ...]]]:
    """Read every table whole."""
    with ledger.database.read() as connection:
        return {
            table.name: [tuple(row) for row in connection.execute(sa.select(table))]
            for table in tables.metadata.sorted_tables
        }


def final_state_of(ledger: Ledger) -> FinalState:
    """Read outcomes, balances and the money taken."""
    final_state = FinalState()
    with ledger.database.read() as connection:
        rows = connection.execute(
            sa.select(tables.outcomes).where(tables.outcomes.c.status != "retried")
        ).all()
        final_state.status = {row.order_id: row.status for row in rows}
        assert len(final_state.status) == len(rows), "an order has two outcomes"
        for row in connection.execute(
            sa.select(tables.accounts).where(tables.accounts.c.kind == "customer")
        ):
            _, customer, currency = row.account.split("/")
            final_state.balance[customer, currency] = row.balance
        for row in connection.execute(
            sa.select(tables.transfers).where(tables.transfers.c.order_id.is_not(None))
        ):
            final_state.taken[row.currency] = final_state.taken.get(row.currency, 0) + row.amount
    return final_state


def assert_proven(ledger: Ledger) -> None:
    """Hold the ledger to its own proof, of the whole and of what was touched since the start."""
    with ledger.database.read() as connection:
        proofs = verify(ledger, connection), verify_since(ledger, connection, Standing({}, {}, {}))
    for proof in proofs:
        assert proof.ok, proof.violations
