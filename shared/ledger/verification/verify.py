"""The proof: what the ledger claims, worked out again from its journal and transfers.

One snapshot, one pass: the journal's orders, the identities and the outcomes come sorted by
partition and number, and are held against each other; then accounts and transfers are added up. Or
only what was touched since a standing that is known: that costs what was touched, and not what
there is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import sqlalchemy as sa

from shared.ledger.database.tables import transfers
from shared.ledger.positions import read_positions
from shared.ledger.totals import totals
from shared.ledger.verification.orders import check_orders
from shared.ledger.verification.proof import Proof, Step, Violation
from shared.ledger.verification.since import Standing, check_since, standing
from shared.ledger.verification.sums import (
    check_accounts,
    check_equation,
    check_heads,
    check_pending,
    check_tallies,
)

if TYPE_CHECKING:
    from shared.ledger.ledger import Ledger

__all__ = ["Proof", "Standing", "Violation", "is_most", "standing", "verify", "verify_since"]

FEW = 10_000
"""Orders of a ledger that is always proved whole: it takes a fraction of a second."""


def verify(ledger: Ledger, connection: sa.Connection, step: Step = lambda _: None) -> Proof:
    """Prove the ledger, in the snapshot that ``connection`` is reading.

    Args:
        ledger: Which.
        connection: One snapshot of it.
        step: Hears which share is done; what it raises ends the proof.
    """
    positions = read_positions(connection)
    moved = connection.scalar(sa.select(sa.func.max(transfers.c.transfer_id))) or 0
    rows = sum(position.head for position in positions) + moved
    proof = Proof(totals(connection), rows=rows, step=step)
    counted, homes = check_orders(connection, proof, positions)
    check_tallies(connection, proof, counted)
    check_heads(ledger, connection, proof, positions)
    check_pending(connection, proof, positions)
    check_accounts(ledger, connection, proof, homes)
    check_equation(proof)
    return proof


def verify_since(
    ledger: Ledger, connection: sa.Connection, before: Standing, step: Step = lambda _: None
) -> Proof:
    """Prove what was accepted or settled since an earlier standing, and whose money it moved.

    Args:
        ledger: Which.
        connection: One snapshot of it.
        before: How it stood.
        step: As of ``verify``.
    """
    positions = read_positions(connection)
    rows = sum(position.head - before.through(position.partition) for position in positions)
    proof = Proof(totals(connection), rows=rows, step=step)
    check_since(ledger, connection, proof, before, positions)
    check_equation(proof)
    return proof


def is_most(connection: sa.Connection, before: Standing) -> bool:
    """Whether a proof of the whole costs about as much as one of what was touched since."""
    positions = read_positions(connection)
    touched = sum(position.head - before.through(position.partition) for position in positions)
    return sum(position.head for position in positions) <= max(FEW, 2 * touched)
