"""Workers, gateways that answer as they are told, and what the cursors and outcomes say then."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, cast

from services.payment.gateway import (
    PAID,
    Charge,
    Declined,
    Gateway,
    LedgerGateway,
    Paid,
)
from services.payment.settle import Settler
from shared.ledger.cursors import Cursor, peek
from shared.ledger.database import tables
from tests.support.ledgers import dump

if TYPE_CHECKING:
    from collections.abc import Callable

    from shared.ledger.ledger import Ledger
    from shared.ledger.postings import Settlement

    NewLedger = Callable[..., Ledger]


class Scripted:
    """A gateway that answers each order as it is told, attempt by attempt; then it pays."""

    def __init__(self, **script: list[Any]) -> None:
        self.script = script
        self.asked: list[Charge] = []

    def charge(self, charge: Charge) -> Paid | Declined:
        self.asked.append(charge)
        answers = self.script.get(charge.order.order_id, [])
        answer: Any = answers.pop(0) if answers else PAID
        if isinstance(answer, BaseException):
            raise answer
        return cast("Paid | Declined", answer)  # or nonsense, on purpose


def settler(
    ledger: Ledger, gateway: Gateway | None = None, *, worker: str = "w-1", max_attempts: int = 5
) -> Settler:
    return Settler(
        ledger,
        gateway or LedgerGateway(),
        worker=worker,
        batch_size=200,
        max_attempts=max_attempts,
    )


def work_out(worker: Settler) -> Settlement:
    """Let a worker prepare a settlement of partition 0, and not write it."""
    batch = worker.prepare(0)
    assert batch is not None
    return worker.decide(batch, time.monotonic() + 60)


def cursor(ledger: Ledger, partition: int = 0) -> Cursor:
    with ledger.database.read() as connection:
        return peek(connection, partition)


def make_due(ledger: Ledger) -> None:
    with ledger.database.write() as connection:
        connection.execute(tables.cursors.update().values(retry_at=None))


def outcomes(ledger: Ledger) -> list[tuple[str, str, int, str | None]]:
    """What became of each order, with attempts and reason, in the journal's order."""
    return [
        (order_id, status, attempts, reason)
        for _, _, order_id, status, _, _, attempts, reason, *_ in dump(ledger)["outcomes"]
    ]


def settle_through(ledger: Ledger, gateway: Gateway, *, max_attempts: int = 5) -> None:
    """Settle to the end, however often the partition waits."""
    worker = settler(ledger, gateway, max_attempts=max_attempts)
    for _ in range(30):
        worker.settle_partition(0)
        make_due(ledger)
    assert cursor(ledger).number == cursor(ledger).head
