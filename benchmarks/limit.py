"""The limit: the same parsing, journalling and settling in one process, without any queue."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from services.payment.gateway import LedgerGateway
from services.payment.settle import Settler
from shared.collector import tune_gc
from shared.environment import load_settings
from shared.ledger.journal import Candidate, append, digest
from shared.ledger.ledger import open_ledger
from shared.schema import parse_order

if TYPE_CHECKING:
    from pathlib import Path

    from shared.schema import Message

BLOCK = 3200


def one_process(ledger_file: Path, orders: Path) -> float:
    """Return orders per second of one process that does all of the work by itself."""
    for suffix in ("", "-wal", "-shm", ".lock"):
        ledger_file.with_name(ledger_file.name + suffix).unlink(missing_ok=True)
    settings = load_settings(ledger_url=f"sqlite:///{ledger_file}")
    ledger = open_ledger(settings)
    settler = Settler(
        ledger,
        LedgerGateway(),
        worker="limit",
        batch_size=settings.batch_size,
        max_attempts=settings.max_attempts,
    )

    def accept(block: list[Candidate]) -> list[Message]:
        return append(
            ledger,
            lambda: block,
            run_id="limit",
            batch_size=settings.batch_size,
            max_pending=settings.max_pending,
        ).messages

    tune_gc()
    lines = orders.read_bytes().splitlines()
    started = time.perf_counter()
    for start in range(0, len(lines), BLOCK):
        block = []
        for line in lines[start : start + BLOCK]:
            order, canonical = parse_order(line)
            partition = ledger.partition_of(order.customer_id)
            block.append(Candidate(order.order_id, partition, canonical, digest(canonical)))
        for message in accept(block):
            settler.settle(message.body)
    seconds = time.perf_counter() - started
    ledger.database.close()
    return len(lines) / seconds
