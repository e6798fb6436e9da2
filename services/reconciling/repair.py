"""Repairs what can be: files what the book says, for whoever settles the order's partition."""

from __future__ import annotations

from typing import TYPE_CHECKING

from services.reconciling.differences import Kind
from shared.ledger.reconciling import file_before_call, file_finding, reopen_as_found

if TYPE_CHECKING:
    from services.reconciling.differences import Difference
    from shared.ledger.ledger import Ledger

CHANGED = "nothing was done: it has changed since"
HELD = "nothing was done: it has changed, or a worker holds its partition; run it again"


def repair(ledger: Ledger, difference: Difference) -> Difference:
    """File what the book says of an order, if that settles it; say what was done."""
    return difference._replace(done=_repair(ledger, difference))


def _repair(ledger: Ledger, difference: Difference) -> str | None:
    standing = difference.standing
    if standing is None or difference.kind not in {Kind.CHARGED, Kind.DOUBT}:
        return None
    status, reference = _finding(difference)
    if status is None:
        return None
    if standing.status == "dead":
        said = "opened again, to be asked for" if status == "free" else f"opened again, as {status}"
        is_done = reopen_as_found(ledger, standing.order_id, status, reference)
        return said if is_done else CHANGED
    if standing.status is not None or status == "free":
        return None
    if standing.in_doubt:
        is_done = file_finding(ledger, standing, status, reference)
    else:
        is_done = file_before_call(ledger, standing, reference)
    return f"filed as {status}" if is_done else HELD


def _finding(difference: Difference) -> tuple[str | None, str]:
    """Say what the book has found out about an order, with the charge's id, or the reason."""
    paid = [charge for charge in difference.charges if charge.is_paid]
    if len(paid) > 1:
        return None, ""  # which of them is given back, a person says
    if paid:
        return "paid", paid[0].id
    if difference.kind is not Kind.DOUBT or difference.standing is None:
        return None, ""
    last = [
        charge
        for charge in difference.charges
        if charge.generation == difference.standing.generation
    ]
    if last:
        return "declined", last[-1].reason or "declined"
    return ("free" if difference.is_final else None), ""
