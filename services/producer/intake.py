"""The one door: whatever the source, an order becomes a candidate, and a block is journalled.

What the door accepts is durable before it is enqueued, and enqueued before the source hears of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from shared.ledger.journal import Appended, Candidate, append, digest

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from shared.ledger.opening import Ledger
    from shared.queue.port import OrderQueue
    from shared.schema import Order
    from shared.settings import Settings


class Intake:
    """Accepts blocks of orders for one run.

    Attributes:
        block_orders: Most orders in a block: enough for a full batch in every partition, and
            never so many that a block alone would fill the pipeline.
    """

    def __init__(
        self, ledger: Ledger, queue: OrderQueue, settings: Settings, *, run_id: str
    ) -> None:
        self._ledger = ledger
        self._queue = queue
        self._batch_size = settings.batch_size
        self._max_pending = settings.max_pending
        self._run_id = run_id
        full = min(ledger.partitions * settings.batch_size, 3200)
        self.block_orders = max(1, min(full, settings.max_pending // 2))

    def candidate(self, order: Order, canonical: bytes) -> Candidate:
        """Make a valid order ready for the journal."""
        partition = self._ledger.partition_of(order.customer_id)
        return Candidate(order.order_id, partition, canonical, digest(canonical))

    def accept(
        self,
        block: Sequence[Candidate] | Callable[[], Sequence[Candidate]],
        *,
        partly: bool = False,
    ) -> Appended:
        """Journal a block in its order, or the part there is room for, then enqueue what is new.

        The block may be given by a function, which is called when it can be written.

        Raises:
            Backlogged: There is no room for all of it, and it was not to be accepted in part;
                nothing was.
            LedgerUnavailable: Nothing was accepted.
        """
        appended = append(
            self._ledger,
            block,
            run_id=self._run_id,
            batch_size=self._batch_size,
            max_pending=self._max_pending,
            partly=partly,
        )
        self._queue.put(appended.messages)
        return appended
