"""What becomes of an order after a call: its outcome, another attempt, or a doubt and its way out.

A doubt is ended by a definite answer alone: no failure after it says what became of the first call.
"""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING

from services.payment.gateway_call import DEBT, LEAST_BALANCE
from services.payment.outside import KEY_MARGIN
from services.payment.verdicts import Kind, Verdict
from shared import clock
from shared.ledger.cursors import RETRY_SECONDS
from shared.ledger.postings import Charged, Failed
from shared.schema import Payment
from shared.texts import legible

if TYPE_CHECKING:
    from collections.abc import Callable

    from services.payment.charging.book import Row
    from services.payment.outside import Traits
    from shared.ledger.resolutions import Resolution
    from shared.schema import PaymentStatus

ALONE_FROM = 3
"""An order during whose calls so many workers have ended is called alone: it may be the reason."""

MOST_CRASHES = 6
"""So many may end, half of them with nothing else out: who kills workers hits one or two so."""

_BACKOFF = 0.05
_DOUBT_SECONDS = 10.0
"""The longest wait between two questions about an order in doubt."""

_DRAW = random.SystemRandom()


class Fates:
    """Decides what becomes of orders, by what their gateway declares.

    Args:
        traits: What that is.
        worker: The name that outcomes carry.
        max_attempts: Attempts at an order before it is dead.
        opening_balance: What an account holds that there is not yet, in minor units.
        settled: Told of each order that has its outcome.
        put_off: Told of each that goes on at its ``due``.
    """

    def __init__(
        self,
        traits: Traits,
        *,
        worker: str,
        max_attempts: int,
        opening_balance: int,
        settled: Callable[[Row], None],
        put_off: Callable[[Row], None],
    ) -> None:
        self._traits = traits
        self._worker = worker
        self._max_attempts = max_attempts
        self._opening_balance = opening_balance
        self._settled = settled
        self._put_off = put_off

    def balance_of(self, row: Row) -> int:
        """What the customer has to pay an order from, in minor units."""
        balance = row.partition.balances.get(row.account)
        return self._opening_balance if balance is None else balance

    def without_call(self, row: Row) -> bool:
        """Settle an order about which nobody has to be asked; say whether it was one."""
        assert row.taken is not None  # noqa: S101
        if row.resolution is not None:
            return self._resolve(row, row.resolution)
        if row.crashes >= MOST_CRASHES:
            self._die(row, row.reason)
        elif row.doubtful_since is not None:
            if self._may_ask_again(row) or self._traits.can_look_up:
                return False
            self._die(row, row.reason)
        elif row.taken.order.total == 0:
            self._settle(row, "paid", None)
        elif self.balance_of(row) - row.taken.order.total < LEAST_BALANCE:
            self._settle(row, "dead", DEBT)
        else:
            return False
        return True

    def looks_up(self, row: Row) -> bool:
        """Whether the way out of an order's doubt is a look-up, rather than asking again."""
        return row.doubtful_since is not None and not self._may_ask_again(row)

    def decide(self, row: Row, verdict: Verdict) -> None:
        """Draw the conclusion from how a call has ended."""
        match verdict.kind:
            case Kind.PAID:
                self._settle(row, "paid", None, verdict.reference)
            case Kind.DECLINED:
                self._settle(row, "declined", verdict.reason)
            case Kind.REFUSED:
                self._die(row, verdict.reason)
            case Kind.FAILED:
                self._fail(row, verdict.reason or "no answer")
            case Kind.UNAVAILABLE | Kind.BUSY:
                self._go_back(row, verdict)
            case Kind.FREE:
                self._release(row)
                self._wait(row, "queued", 0.0)
            case Kind.UNDER_WAY:
                self.doubt(row, verdict)
            case Kind.SPENT:
                row.is_spent = True
                self.doubt(row, verdict)
            case Kind.IN_USE | Kind.DOUBT:
                self.doubt(row, verdict)

    def doubt(self, row: Row, verdict: Verdict) -> None:
        """Note that an order may be charged, and go on with it as the gateway allows."""
        row.doubtful_since = row.doubtful_since or clock.now_us()
        row.reason = verdict.reason
        row.was_late |= verdict.is_late
        row.doubts += 1
        if self._may_ask_again(row):
            self._wait(row, "doubt", verdict.seconds or _growing(row.doubts, _DOUBT_SECONDS))
        elif self._traits.can_look_up:
            wait = self._traits.settles_within
            if verdict.kind is Kind.UNDER_WAY:
                wait = _growing(row.doubts + 4, _DOUBT_SECONDS)
            self._wait(row, "doubt", wait)
        else:
            self._die(row, row.reason)

    def take_over(self, row: Row) -> None:
        """Prepare to go on with an order that another worker has left as it is."""
        if row.state == "called":
            row.crashes += 1
            row.doubtful_since = row.doubtful_since or clock.now_us()
            row.reason = "its worker ended during the call"
            row.state = "doubt"
            row.partition.changed[row.number] = row
        wait = 0.0
        if row.doubtful_since is None:
            left = ((row.due_at or 0) - clock.now_us()) / clock.SECOND
            wait = left if 0 < left <= RETRY_SECONDS else 0.0
        elif not self._may_ask_again(row) and self._traits.can_look_up:
            wait = self._traits.settles_within
        row.due = time.monotonic() + wait

    def _resolve(self, row: Row, found: Resolution) -> bool:
        """Do as somebody has found out; say whether the order is settled by that."""
        row.resolution = None
        row.partition.resolved.append(row.order_id)
        if found.status == "paid":
            self._settle(row, "paid", None, found.reference)
        elif found.status == "declined":
            self._settle(row, "declined", found.reason or "no reason given")
        else:
            self._release(row)
            row.state = "queued"
            row.partition.changed[row.number] = row
            return self.without_call(row)
        return True

    def _may_ask_again(self, row: Row) -> bool:
        """Whether the key of an order in doubt is still good for its first answer."""
        if not self._traits.idempotent or row.is_spent:
            return False
        age = (clock.now_us() - (row.key_since or clock.now_us())) / clock.SECOND
        lifetime = self._traits.key_lifetime
        return age < max(lifetime - KEY_MARGIN, lifetime / 2)

    def _fail(self, row: Row, reason: str) -> None:
        """Count an attempt that did not charge."""
        assert row.taken is not None  # noqa: S101
        row.attempts += 1
        attempt = row.taken.attempts + row.attempts
        if row.attempts >= self._max_attempts:
            self._die(row, reason, attempts=attempt)
            return
        failure = Failed(attempt, reason, self._worker)
        row.partition.decided.failures.append((row.number, failure))
        row.reason = reason
        wait = _jittered(row.attempts)
        if row.doubtful_since is not None:
            self._wait(row, "doubt", wait)
            return
        self._release(row)
        self._wait(row, "waiting", wait)

    def _go_back(self, row: Row, verdict: Verdict) -> None:
        """Put an order back that nobody was asked about; whether it will be is the breaker's."""
        if row.doubtful_since is not None:
            row.reason = row.reason or verdict.reason
            self._wait(row, "doubt", 0.0)
            return
        if verdict.kind is Kind.BUSY:
            self._release(row)
        self._wait(row, "queued", 0.0)

    def _release(self, row: Row) -> None:
        """Have the next call use a new key: the last one did not charge, for certain."""
        row.generation += 1
        row.key_since = row.doubtful_since = None
        row.is_spent = row.was_late = False
        row.doubts = 0

    def _wait(self, row: Row, state: str, seconds: float) -> None:
        row.state = state
        row.due = time.monotonic() + seconds
        row.due_at = clock.now_us() + int(seconds * clock.SECOND) if seconds else None
        row.partition.changed[row.number] = row
        self._put_off(row)

    def _die(self, row: Row, reason: str | None, *, attempts: int | None = None) -> None:
        said = reason or "no answer"
        if row.doubtful_since is not None:
            said = legible(f"in doubt: {said}")
        self._settle(row, "dead", said, attempts=attempts)

    def _settle(
        self,
        row: Row,
        status: PaymentStatus,
        reason: str | None,
        reference: str | None = None,
        *,
        attempts: int | None = None,
    ) -> None:
        taken, partition = row.taken, row.partition
        assert taken is not None  # noqa: S101
        order, amount, account = taken.order, taken.order.total, row.account
        decided = partition.decided
        if status != "dead":
            balance = self.balance_of(row)
            if partition.balances.get(account) is None:
                decided.opened[account] = order.currency
            held = balance - amount if status == "paid" else balance
            partition.balances[account] = decided.balances[account] = held
        decided.debits.append(account if status == "paid" else None)
        decided.payments.append(
            Payment(
                order_id=order.order_id,
                status=status,
                amount=amount,
                currency=order.currency,
                attempts=attempts or taken.attempts + row.attempts + 1,
                reason=reason,
                settled_at=clock.from_us(clock.now_us()),
                worker=self._worker,
            )
        )
        doubtful_since = row.doubtful_since if status == "dead" else None
        decided.charges.append(Charged(row.generation, reference, doubtful_since))
        partition.numbers.append(row.number)
        partition.accepted_at.append(taken.accepted_at)
        if row.doubtful_since is not None or taken.attempts:
            partition.resolved.append(row.order_id)  # whatever was found out meanwhile
        if not row.is_new:
            partition.gone.append(row.number)
        self._settled(row)


def _jittered(failures: int) -> float:
    """Seconds to wait: exponential, with full jitter so that retries spread out."""
    return _DRAW.uniform(0, _growing(failures, RETRY_SECONDS))


def _growing(failures: int, most: float) -> float:
    return min(most, _BACKOFF * 2.0 ** min(failures - 1, 16))
