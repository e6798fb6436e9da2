"""Settlement: a message in, outcomes out. Knows the ledger and the gateway, but no queue."""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING, NamedTuple

from services.payment.gateway_call import Answer, GatewayCaller
from services.payment.next_batch import BatchFinder, Delivery, account_of, read_destination
from shared import clock
from shared.ledger.cursors import RETRY_SECONDS, peek, until_retry
from shared.ledger.postings import Failed, Settlement
from shared.ledger.settlement import BATCH_FAILURES, write
from shared.metrics import Meter
from shared.schema import Payment
from shared.texts import legible

if TYPE_CHECKING:
    from collections.abc import Callable

    from services.payment.gateway import Gateway
    from services.payment.next_batch import NextBatch
    from shared.ledger.ledger import Ledger

VISIT_SECONDS = 1.0
"""Seconds after which a partition makes way for the others."""

_BACKOFF = 0.05

# The system's: a gateway may seed the module's, or put something else in its place; and one that
# was made here would be the same in all workers, which are copies of one process.
_DRAW = random.SystemRandom()


class Visit(NamedTuple):
    """What one visit to a partition came to.

    Attributes:
        delivery: What the message was that led here.
        partition: Where, if the message told.
        settled: Orders that have an outcome now.
        due: When to come again, in monotonic seconds; None if nothing is left to do.
    """

    delivery: Delivery
    partition: int | None = None
    settled: int = 0
    due: float | None = None


class Settler:
    """Settles partitions of one ledger through one gateway, for one worker.

    Args:
        ledger: Where the money moves.
        gateway: Who takes the money.
        worker: The name that outcomes will carry.
        batch_size: Most orders in a transaction.
        max_attempts: Gateway attempts before an order is dead.
        on_progress: Called with the partition before every charge: a sign of life.
        meter: Where it counts what it does.
    """

    def __init__(
        self,
        ledger: Ledger,
        gateway: Gateway,
        *,
        worker: str,
        batch_size: int,
        max_attempts: int,
        on_progress: Callable[[int], None] = lambda _: None,
        meter: Meter | None = None,
    ) -> None:
        self._ledger = ledger
        self._gateway = GatewayCaller(gateway, max_attempts)
        self._worker = worker
        self._on_progress = on_progress
        self._meter = meter or Meter()
        self._finder = BatchFinder(ledger, batch_size)

    def settle(self, message: bytes) -> Visit:
        """Settle the partition that a message points to.

        Raises:
            LedgerUnavailable: What was not committed is still open.
        """
        header = read_destination(self._ledger, message)
        if isinstance(header, Delivery):
            self._meter.count(header)
            return Visit(header)
        partition = header.partition
        self._on_progress(partition)
        delivery = Delivery.NUDGE
        with self._ledger.database.read() as connection:
            cursor = peek(connection, partition)
            if not header.is_nudge:
                delivery = self._finder.recognise(connection, cursor, header, message)
            batch = self._finder.find(connection, cursor)
        self._meter.count(delivery)
        return self._settle(partition, delivery, batch)

    def settle_partition(self, partition: int) -> Visit:
        """Settle what the journal holds for a partition, for about a second.

        Raises:
            LedgerUnavailable: What was not committed is still open.
        """
        self._on_progress(partition)
        return self._settle(partition, Delivery.NUDGE, self.prepare(partition))

    def prepare(self, partition: int) -> NextBatch | None:
        """Read what comes next in a partition; None if nothing is open.

        Raises:
            LedgerUnavailable: It cannot be read.
        """
        with self._ledger.database.read() as connection:
            return self._finder.find(connection, peek(connection, partition))

    def decide(self, batch: NextBatch, deadline: float) -> Settlement:
        """Price and charge orders in turn, until one has to wait or time is up.

        Args:
            batch: What ``prepare`` has read.
            deadline: When the order under way is the last, in monotonic seconds.

        Returns:
            What to write; ``shared.ledger.settlement.write`` does it, if nobody has meanwhile.
        """
        cursor = batch.cursor
        result = Settlement(cursor)
        settled_at = clock.from_us(clock.now_us())
        failed = cursor.attempts
        for order, attempts_before in batch.orders():
            self._on_progress(cursor.partition)
            amount, account = order.total, account_of(order)
            balance = result.balances.get(account, batch.balances.get(account))
            held = self._ledger.opening_balance if balance is None else balance
            attempt = attempts_before + failed + 1
            if (known := batch.resolutions.get(order.order_id)) is not None:
                answer = Answer("paid" if known.status == "paid" else "declined", known.reason)
                result.resolved.append(order.order_id)
            elif cursor.failures > BATCH_FAILURES and not result.payments:
                answer = Answer("dead", legible(f"invalid: {cursor.reason}"))
            else:
                answer = self._gateway.ask(order, amount, held, attempt, failed + 1)
            if answer.status is None:
                result.attempts, result.reason = failed + 1, answer.reason
                result.failed = Failed(attempt, str(answer.reason), self._worker)
                result.retry_at = clock.now_us() + _backoff(failed + 1)
                break
            if balance is None and answer.status != "dead":
                result.opened[account] = order.currency
                result.balances[account] = held
            if answer.status == "paid":
                result.balances[account] = held - amount
            result.debits.append(account if answer.status == "paid" else None)
            result.payments.append(
                Payment(
                    order_id=order.order_id,
                    status=answer.status,
                    amount=amount,
                    currency=order.currency,
                    attempts=attempt,
                    reason=answer.reason,
                    settled_at=settled_at,
                    worker=self._worker,
                )
            )
            failed = 0
            if time.monotonic() > deadline:
                break
        return result

    def _settle(self, partition: int, delivery: Delivery, batch: NextBatch | None) -> Visit:
        settled = 0
        deadline = time.monotonic() + VISIT_SECONDS
        while batch is not None:
            wait = until_retry(batch.cursor.retry_at)
            if wait <= 0:
                settlement = self.decide(batch, deadline)
                if not write(self._ledger, settlement):
                    # Another worker moved the cursor; it looks at the head before it leaves.
                    break
                settled += len(settlement.payments)
                self._measure(batch, settlement)
                wait = until_retry(settlement.retry_at)
            if wait > 0:
                return Visit(delivery, partition, settled, time.monotonic() + wait / clock.SECOND)
            if time.monotonic() > deadline:
                return Visit(delivery, partition, settled, time.monotonic())
            batch = self.prepare(partition)
        return Visit(delivery, partition, settled)

    def _measure(self, batch: NextBatch, settlement: Settlement) -> None:
        if settlement.failed is not None:
            self._meter.count("retries")
        left = len(settlement.payments)
        if left:
            self._meter.batches.observe(left)
        now = clock.now_us()
        for part in batch.parts:
            settled = min(left, len(part.orders))
            left -= settled
            self._meter.latency.observe(now - part.accepted_at, settled)


def _backoff(failures: int) -> int:
    """Microseconds to wait: exponential, with full jitter so that retries spread out."""
    most = min(RETRY_SECONDS, _BACKOFF * 2 ** min(failures - 1, 16))
    return int(_DRAW.uniform(0, most) * clock.SECOND)
