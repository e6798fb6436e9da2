"""The proof: everything that the ledger claims, worked out again from its journal and transfers.

One snapshot, one pass: the journal's orders, the identities and the outcomes come sorted by
partition and number, and are held against each other; then the books are added up.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from shared.ledger.audit_books import check_books, check_equation, check_heads, check_tallies
from shared.ledger.audit_orders import check_orders
from shared.ledger.positions import positions
from shared.ledger.proof import Proof, Violation
from shared.ledger.reports import totals

if TYPE_CHECKING:
    import sqlalchemy as sa

    from shared.ledger.opening import Ledger

__all__ = ["Proof", "Violation", "verify"]


def verify(ledger: Ledger, connection: sa.Connection) -> Proof:
    """Prove the ledger, in the snapshot that ``connection`` is reading."""
    proof = Proof(totals(connection))
    places = positions(connection)
    counted, homes = check_orders(connection, proof, places)
    check_tallies(connection, proof, counted)
    check_heads(ledger, connection, proof, places)
    check_books(ledger, connection, proof, homes)
    check_equation(proof)
    return proof
