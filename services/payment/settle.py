"""Settlement: a message in, outcomes out. Knows the ledger and the gateway, but no queue.

A message says where to look; the cursor says what is next; the journal says what that is. So a
message that comes twice, late, never or from a stranger changes nothing: its orders are used only
if the journal vouches for its very bytes, and the journal's own are used otherwise.
"""

from __future__ import annotations

import random
import time
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple

from services.payment.gateway import Charge, Declined, Paid, PermanentFailure, TransientFailure
from shared import clock
from shared.errors import InvalidBatch
from shared.ledger import settlement as books
from shared.ledger.journal import ENTRY_BYTES, digest
from shared.ledger.postings import Failed, customer_account
from shared.metrics import Meter
from shared.schema import Payment, PaymentStatus, decode_batch, read_header

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import sqlalchemy as sa

    from services.payment.gateway import Gateway
    from shared.ledger.opening import Ledger
    from shared.schema import BatchHeader, Order

STINT = 1.0
"""Seconds after which a partition makes way for the others."""

INVALID_ATTEMPTS = 3
"""Attempts at an order on which the gateway itself breaks."""

_BACKOFF = 0.05
_BACKOFF_MOST = 2.0
_LEAST_BALANCE = -(2**63)


class Delivery(StrEnum):
    """What a message turned out to be."""

    FRESH = "fresh"
    EARLY = "early"
    REDELIVERED = "redelivered"
    NUDGE = "nudge"
    FORGED = "forged"
    FOREIGN = "foreign"
    UNREADABLE = "unreadable"


class Stint(NamedTuple):
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


@dataclass(frozen=True, slots=True)
class _Batch:
    """An entry's orders, and the digest by which the journal vouches for them."""

    digest: bytes
    orders: tuple[Order, ...]


class _Part(NamedTuple):
    """Orders of one entry: what they have behind them, and when they were accepted."""

    orders: tuple[Order, ...]
    attempts_before: int
    accepted_at: int


@dataclass(frozen=True, slots=True)
class _Work:
    """What comes next in a partition, and the balances that it starts from."""

    cursor: books.Cursor
    parts: list[_Part]
    balances: dict[str, int]

    def orders(self) -> Iterator[tuple[Order, int]]:
        """Each order, with the attempts that it has behind it."""
        for part in self.parts:
            for order in part.orders:
                yield order, part.attempts_before


class Settler:
    """Settles partitions of one ledger through one gateway, for one worker.

    Args:
        ledger: The books.
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
        self._gateway = gateway
        self._worker = worker
        self._batch_size = batch_size
        self._max_attempts = max_attempts
        self._on_progress = on_progress
        self._meter = meter or Meter()
        self._last_batch: dict[int, _Batch] = {}

    def settle(self, message: bytes) -> Stint:
        """Settle the partition that a message points to.

        Raises:
            LedgerUnavailable: What was not committed is still open.
        """
        try:
            header = read_header(message)
        except InvalidBatch:
            return self._refuse(Delivery.UNREADABLE)
        ledger, partition = self._ledger, header.partition
        if header.ledger_id != ledger.ledger_id or partition >= ledger.partitions:
            return self._refuse(Delivery.FOREIGN)
        self._on_progress(partition)
        delivery = Delivery.NUDGE
        with ledger.database.read() as connection:
            cursor = books.peek(connection, partition)
            if not header.is_nudge:
                delivery = self._recognise(connection, cursor, header, message)
            work = self._look(connection, cursor)
        self._meter.count(delivery)
        return self._settle(partition, delivery, work)

    def settle_partition(self, partition: int) -> Stint:
        """Settle what the journal holds for a partition, for about a second.

        Raises:
            LedgerUnavailable: What was not committed is still open.
        """
        self._on_progress(partition)
        return self._settle(partition, Delivery.NUDGE, self._next(partition))

    def _refuse(self, delivery: Delivery) -> Stint:
        self._meter.count(delivery)
        return Stint(delivery)

    def _recognise(
        self, connection: sa.Connection, cursor: books.Cursor, header: BatchHeader, message: bytes
    ) -> Delivery:
        """Find out what a message that carries orders is, and keep them if they come next."""
        known = digest(message)
        delivery = _compare(connection, cursor, header, known)
        if delivery is Delivery.FRESH:
            self._last_batch[cursor.partition] = _Batch(known, decode_batch(message).orders)
        return delivery

    def _settle(self, partition: int, delivery: Delivery, work: _Work | None) -> Stint:
        settled = 0
        deadline = time.monotonic() + STINT
        while work is not None:
            wait = (work.cursor.retry_at or 0) - clock.now_us()
            if wait <= 0:
                settlement = self._decide(work, deadline)
                if not books.write(self._ledger, settlement):
                    # Another worker moved the cursor; it looks at the head before it leaves.
                    break
                settled += len(settlement.payments)
                self._measure(work, settlement)
                wait = (settlement.retry_at or 0) - clock.now_us()
            if wait > 0:
                return Stint(delivery, partition, settled, time.monotonic() + wait / clock.SECOND)
            if time.monotonic() > deadline:
                return Stint(delivery, partition, settled, time.monotonic())
            work = self._next(partition)
        return Stint(delivery, partition, settled)

    def _measure(self, work: _Work, settlement: books.Settlement) -> None:
        if settlement.failed is not None:
            self._meter.count("retries")
        left = len(settlement.payments)
        if left:
            self._meter.batches.observe(left)
        now = clock.now_us()
        for part in work.parts:
            settled = min(left, len(part.orders))
            left -= settled
            self._meter.latency.observe(now - part.accepted_at, settled)

    def _next(self, partition: int) -> _Work | None:
        with self._ledger.database.read() as connection:
            return self._look(connection, books.peek(connection, partition))

    def _look(self, connection: sa.Connection, cursor: books.Cursor) -> _Work | None:
        """Read what comes after the cursor; None if nothing is open."""
        if cursor.number >= cursor.head:
            return None
        parts = self._parts(connection, cursor)
        names = {_account(order) for part in parts for order in part.orders}
        balances = books.balances(self._ledger, connection, cursor.partition, names)
        return _Work(cursor, parts, balances)

    def _parts(self, connection: sa.Connection, cursor: books.Cursor) -> list[_Part]:
        """Read the orders after the cursor: of its entry, and of small ones that follow.

        A trickle leaves entries of few orders each; one by one they would cost a commit each.
        """
        partition = cursor.partition
        limit = 1 if cursor.number < cursor.singly_until else self._batch_size
        entry = books.entry_at(connection, partition, cursor.number + 1)
        batch = self._last_batch.get(partition)
        if batch is None or batch.digest != entry.digest:
            body = books.body(connection, partition, entry.first)
            batch = _Batch(entry.digest, decode_batch(body).orders)
        start = cursor.number + 1 - entry.first
        parts = [_Part(batch.orders[start : start + limit], entry.attempts, entry.accepted_at)]
        room = limit - len(parts[0].orders)
        size = 0
        if room and entry.last < cursor.head:
            for small, body in books.following(connection, partition, entry.last):
                room -= small.last - small.first + 1
                size += len(body)
                if room < 0 or size > ENTRY_BYTES:
                    break
                batch = _Batch(small.digest, decode_batch(body).orders)
                parts.append(_Part(batch.orders, small.attempts, small.accepted_at))
        self._last_batch[partition] = batch
        return parts

    def _decide(self, work: _Work, deadline: float) -> books.Settlement:
        """Price and charge orders in turn, until one has to wait or time is up."""
        cursor = work.cursor
        result = books.Settlement(cursor)
        settled_at = clock.from_us(clock.now_us())
        failed = cursor.attempts
        for order, attempts_before in work.orders():
            self._on_progress(cursor.partition)
            amount, account = order.total, _account(order)
            balance = result.balances.get(account, work.balances.get(account))
            held = self._ledger.opening_balance if balance is None else balance
            attempt = attempts_before + failed + 1
            if cursor.failures > books.BATCH_FAILURES and not result.payments:
                answer = _Answer("dead", f"invalid: {cursor.reason}")
            else:
                answer = self._charge(Charge(order, amount, held, attempt), failed + 1)
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

    def _charge(self, charge: Charge, failures: int) -> _Answer:
        """Ask the gateway; ``failures`` is how many there are if it fails now."""
        try:
            answer: object = self._gateway.charge(charge)
        except PermanentFailure as failure:
            return _Answer("dead", str(failure) or "refused for good")
        except TransientFailure as failure:
            again = failures < self._max_attempts
            return _Answer(None if again else "dead", str(failure) or "no answer")
        except Exception as error:  # noqa: BLE001  whatever a gateway of one's own may raise
            again = failures < min(INVALID_ATTEMPTS, self._max_attempts)
            return _Answer(None if again else "dead", f"invalid: {type(error).__name__}: {error}")
        return _understand(answer, charge)


class _Answer(NamedTuple):
    """What becomes of an order; without a status it has to wait."""

    status: PaymentStatus | None
    reason: str | None


_PAID = _Answer("paid", None)


def _understand(answer: object, charge: Charge) -> _Answer:
    if isinstance(answer, Declined):
        return _Answer("declined", answer.reason)
    if not isinstance(answer, Paid):
        return _Answer("dead", f"invalid: the gateway answered {answer!r}")
    if charge.balance - charge.amount < _LEAST_BALANCE:
        return _Answer("dead", "invalid: the account cannot hold so large a debt")
    return _PAID


def _compare(
    connection: sa.Connection, cursor: books.Cursor, offered: BatchHeader, known: bytes
) -> Delivery:
    """Hold a message that carries orders, and its digest, against the journal and the cursor."""
    if not 1 <= offered.first <= offered.last <= cursor.head:
        return Delivery.FORGED
    entry = books.entry_at(connection, offered.partition, offered.first)
    if (entry.first, entry.last, entry.digest) != (offered.first, offered.last, known):
        return Delivery.FORGED
    if offered.last <= cursor.number:
        return Delivery.REDELIVERED
    return Delivery.FRESH if offered.first <= cursor.number + 1 else Delivery.EARLY


def _account(order: Order) -> str:
    return customer_account(order.customer_id, order.currency)


def _backoff(failures: int) -> int:
    """Microseconds to wait: exponential, with full jitter so that retries spread out."""
    most = min(_BACKOFF_MOST, _BACKOFF * 2 ** min(failures - 1, 16))
    return int(random.uniform(0, most) * clock.SECOND)  # noqa: S311  no secret
