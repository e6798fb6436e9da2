"""Intake: whatever the source, an order becomes a candidate, and a block is journalled.

What it accepts is durable before it is enqueued, and enqueued before the source hears of it.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from shared.errors import LedgerInterrupted, LedgerUnavailable, LedgerUncertain
from shared.ledger.database.backend import BUSY_SECONDS
from shared.ledger.database.database import AGAIN_SECONDS
from shared.ledger.journal import Appended, Candidate, append, digest
from shared.logs import Logger
from shared.resilience import Mishaps

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from shared.ledger.ledger import Ledger
    from shared.queue.port import OrderQueue
    from shared.schema import Order
    from shared.settings import Settings

log = Logger("intake")


class Intake:
    """Accepts blocks of orders for one run.

    Args:
        ledger: Where they are journalled.
        queue: Where what is new is enqueued.
        settings: How large blocks and batches are, and how many orders may be open.
        run_id: Which run it is.
        on_write: Told why the ledger cannot be written, and None when it could.

    Attributes:
        block_orders: Most orders in a block: enough for a full batch in every partition, and
            never so many that a block alone would fill the pipeline.
    """

    def __init__(
        self,
        ledger: Ledger,
        queue: OrderQueue,
        settings: Settings,
        *,
        run_id: str,
        on_write: Callable[[LedgerUnavailable | None], None] = lambda _: None,
    ) -> None:
        self._ledger = ledger
        self._queue = queue
        self._batch_size = settings.batch_size
        self._max_pending = settings.max_pending
        self._run_id = run_id
        self._on_write = on_write
        self._written: dict[int, int] = {}
        self._mishaps = Mishaps(log, "orders not enqueued")
        full = min(ledger.partitions * settings.batch_size, 3200)
        self.block_orders = max(1, min(full, settings.max_pending // 2))

    def candidate(self, order: Order, canonical: bytes) -> Candidate:
        """Make a valid order ready for the journal."""
        partition = self._ledger.partition_of(order.customer_id)
        return Candidate(order.order_id, partition, canonical, digest(canonical))

    def accept(self, block: Sequence[Candidate]) -> Appended:
        """Journal a block in its order, then enqueue what is new.

        Raises:
            Backlogged: There is no room for all of it; nothing was accepted.
            LedgerUncertain: The ledger stays away. The block may be accepted, or not.
            LedgerUnavailable: Nothing was accepted.
        """
        return self._accept(lambda: block, partly=False, patience=BUSY_SECONDS)

    def accept_waiting(
        self, gather: Callable[[], Sequence[Candidate]], patience: float
    ) -> Appended:
        """Journal those who wait when they can be written, as far as there is room for them.

        Args:
            gather: Gives those who wait, in order of arrival.
            patience: Seconds for which it is tried if the ledger goes away.

        Raises:
            LedgerUncertain: The ledger stays away. The block may be accepted, or not.
            LedgerUnavailable: Nothing was accepted.
        """
        return self._accept(gather, partly=True, patience=patience)

    def _accept(
        self, gather: Callable[[], Sequence[Candidate]], *, partly: bool, patience: float
    ) -> Appended:
        """Journal a block, then enqueue what is new.

        If the ledger goes away in between, the same block is tried again for ``patience`` seconds;
        and for longer if the answer to a commit was lost, since whoever sent it should not be told
        that it was not written when it was.
        """
        started = time.monotonic()
        written = None
        is_tried = False
        while True:
            try:
                appended = append(
                    self._ledger,
                    gather,
                    run_id=self._run_id,
                    batch_size=self._batch_size,
                    max_pending=self._max_pending,
                    partly=partly,
                    written=written,
                )
                break
            except LedgerInterrupted as error:
                if isinstance(error, LedgerUncertain):
                    written, patience = self._written, BUSY_SECONDS
                if time.monotonic() - started > patience:
                    self._on_write(error)
                    raise _last_word(error, is_uncertain=written is not None) from error
                if is_tried:  # a connection that was closed while it rested is no news
                    self._on_write(error)
                is_tried = True
                time.sleep(AGAIN_SECONDS)
            except LedgerUnavailable as error:
                self._on_write(error)
                raise
        if appended.messages:  # whoever finds nothing but duplicates has written nothing
            self._on_write(None)
        self._written |= appended.ends
        with self._mishaps.survived():  # it is accepted all the same, and a sweep will find it
            self._queue.put(appended.messages)
        return appended


def _last_word(error: LedgerInterrupted, *, is_uncertain: bool) -> LedgerInterrupted:
    """What to say when nobody waits any longer: what failed last does not tell what was written."""
    if not is_uncertain:
        return error
    return LedgerUncertain(
        f"{error}; its answer to a commit was lost, so the latest orders may be accepted, or not: "
        "send them again, those that are there are duplicates"
    )
