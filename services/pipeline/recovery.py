"""Recovery: a nudge for every partition that has open orders and nobody at work on them.

The journal knows what is open, so recovery needs no more than a message that says "look". Every
process that runs part of the pipeline sweeps; a conditional update lets one of them send.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from shared import clock
from shared.ledger.cursors import claim_nudge, overdue
from shared.ledger.positions import read_positions

if TYPE_CHECKING:
    from shared.ledger.ledger import Ledger
    from shared.queue.port import OrderQueue


def nudge_open(ledger: Ledger, queue: OrderQueue) -> list[int]:
    """Nudge every partition that has open orders: what a process does as it starts."""
    positions = ledger.database.ask(read_positions)
    partitions = [position.partition for position in positions if position.open]
    queue.nudge(partitions)
    return partitions


def sweep(ledger: Ledger, queue: OrderQueue, redrive_after: float) -> list[int]:
    """Nudge the partitions that have stood still for ``redrive_after`` seconds; return them.

    A partition stands still when its oldest open order and its cursor are both that old, no retry
    waits for its time, and nobody has nudged it since.
    """
    before = clock.now_us() - int(redrive_after * clock.SECOND)
    with ledger.database.read() as connection:
        still = overdue(connection, before)
    nudged = [position for position in still if claim_nudge(ledger, position, before)]
    queue.nudge(position.partition for position in nudged)
    return [position.partition for position in nudged]
