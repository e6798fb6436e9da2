"""The whole ledger in one object: what ``orderly status --json`` and ``GET /status`` print."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from shared.ledger.reports import totals
from shared.ledger.workers import present

if TYPE_CHECKING:
    import sqlalchemy as sa

    from shared.ledger.opening import Ledger
    from shared.settings import Settings


def status_report(settings: Settings, ledger: Ledger, connection: sa.Connection) -> dict[str, Any]:
    """Count the orders by what became of them; name the ledger and who is at work."""
    workers = present(connection)
    return {
        **totals(connection).as_dict(),
        "mode": settings.queue_mode,
        "ledger": ledger.name,
        "workers": [worker._asdict() for worker in workers],
        "queue_depth": sum(worker.queue_depth for worker in workers),
    }
