"""The whole ledger in one object: what ``orderly status --json`` and ``GET /status`` print."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from shared.ledger.database.tables import ledger as ledger_table
from shared.ledger.doubts import count_doubtful
from shared.ledger.totals import totals
from shared.ledger.workers import is_gateway_away, present

if TYPE_CHECKING:
    from shared.ledger.ledger import Ledger
    from shared.ledger.totals import Totals
    from shared.ledger.workers import WorkerEntry
    from shared.settings import Settings


@dataclass(frozen=True)
class LedgerStatus:
    """The orders by what became of them, which ledger this is, and who is at work.

    Attributes:
        gateway: The outside gateway through which its orders were last charged, if any.
        in_doubt: Open orders that may be charged, and nobody knows.
        queue_trouble: Why the queue's server does not carry, if so.
    """

    totals: Totals
    mode: str
    ledger: str
    workers: list[WorkerEntry]
    gateway: str | None = None
    in_doubt: int = 0
    queue_trouble: str | None = None

    def with_trouble(self, queue_trouble: str | None) -> LedgerStatus:
        """Add what is known of the queue's server."""
        return replace(self, queue_trouble=queue_trouble)

    @property
    def is_gateway_away(self) -> bool:
        """Whether a worker finds that the gateway does not answer."""
        return is_gateway_away(self.workers)

    @property
    def calls_out(self) -> int:
        """Calls to the gateway that are out."""
        return sum(worker.calls_out for worker in self.workers)

    @property
    def queue_depth(self) -> int:
        """Messages on the queues of all workers."""
        return sum(worker.queue_depth for worker in self.workers)

    def as_dict(self) -> dict[str, Any]:
        """The report under the names that are printed."""
        return {
            **self.totals.as_dict(),
            "mode": self.mode,
            "ledger": self.ledger,
            "workers": [worker._asdict() for worker in self.workers],
            "queue_depth": self.queue_depth,
            "queue_trouble": self.queue_trouble,
            "gateway": self.gateway,
            "gateway_away": self.is_gateway_away,
            "calls_out": self.calls_out,
            "in_doubt": self.in_doubt,
        }


def read_status(settings: Settings, ledger: Ledger, connection: sa.Connection) -> LedgerStatus:
    """Read the report from one snapshot; of the queue's server it says nothing."""
    return LedgerStatus(
        totals(connection),
        settings.queue_mode,
        ledger.name,
        present(connection),
        connection.scalar(sa.select(ledger_table.c.gateway)),
        count_doubtful(connection),
    )
