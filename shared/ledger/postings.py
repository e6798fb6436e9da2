"""What settling writes: accounts, transfers, outcomes and tallies, as rows.

They are made before the transaction begins, so that it does nothing but write.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from itertools import chain
from typing import TYPE_CHECKING, Any, NamedTuple

from shared.ledger.accounts import bank_account, merchant_account
from shared.ledger.database.tables import (
    HOUSE,
    LOW_BITS,
    LOW_MASK,
    accounts,
    failures,
    outcomes,
    tallies,
    transfers,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from shared.ledger.cursors import Cursor
    from shared.ledger.ledger import Ledger
    from shared.schema import Payment

_ACCOUNT = ("partition", "account", "kind", "currency", "balance", "opened_at")
_TRANSFER = ("order_id", "debit", "credit", "amount", "currency", "made_at")
_OUTCOME = (
    "partition",
    "number",
    "order_id",
    "status",
    "amount",
    "currency",
    "attempts",
    "reason",
    "settled_at",
    "worker",
)
_TALLY = ("partition", "status", "currency", "orders", "amount_high", "amount_low")
_CHARGED = (*_OUTCOME, "generation", "reference", "doubtful_since")
_FAILURE = ("partition", "number", "attempt", "reason", "worker", "failed_at")
_INSERT_FAILURE = failures.insert()
_INSERT_TRANSFER = transfers.insert()
_INSERT_OUTCOME = outcomes.insert()


class Insert(NamedTuple):
    """Rows for one statement; values in the order of the columns, which is the table's."""

    statement: Any
    columns: tuple[str, ...]
    rows: list[tuple[Any, ...]]


class Failed(NamedTuple):
    """An attempt that a gateway failed; the order is tried again."""

    attempt: int
    reason: str
    worker: str


@dataclass
class Decided:
    """What was decided for orders of one partition, gathered outside of any transaction.

    Attributes:
        partition: Which.
        numbers: The journal's, of the payments.
        payments: What became of each.
        debits: For each payment, the account that it was taken from, if it was paid.
        balances: New balances of the customers' accounts, in minor units.
        opened: Those of them that are new, with their currency.
        failures: Attempts that failed, each with its number; those orders are tried again.
        charges: For each payment what an outside gateway has to do with it; none of the ledger's.
    """

    partition: int
    numbers: Sequence[int] = field(default_factory=list)
    payments: list[Payment] = field(default_factory=list)
    debits: list[str | None] = field(default_factory=list)
    balances: dict[str, int] = field(default_factory=dict)
    opened: dict[str, str] = field(default_factory=dict)
    failures: list[tuple[int, Failed]] = field(default_factory=list)
    charges: list[Charged] = field(default_factory=list)


class Charged(NamedTuple):
    """An outside gateway's side of an outcome.

    Attributes:
        generation: Of the last key.
        reference: What the backend calls the charge.
        doubtful_since: If it may have been charged and nobody knows: since when.
    """

    generation: int
    reference: str | None = None
    doubtful_since: int | None = None


@dataclass
class Settlement:
    """What one settling transaction will write for a partition, gathered outside of it.

    Attributes:
        before: The cursor on which everything here depends.
        payments: Outcomes of the numbers after it, without gaps.
        debits: For each payment, the account that it was taken from, if it was paid.
        balances: New balances of the customers' accounts, in minor units.
        opened: Those of them that are new, with their currency.
        attempts: Failed attempts at the order that comes next.
        retry_at: When that one is due again.
        reason: Why it failed.
        failed: The attempt that failed, for that order's story.
        resolved: The orders whose resolutions have done their work.
    """

    before: Cursor
    payments: list[Payment] = field(default_factory=list)
    debits: list[str | None] = field(default_factory=list)
    balances: dict[str, int] = field(default_factory=dict)
    opened: dict[str, str] = field(default_factory=dict)
    attempts: int = 0
    retry_at: int | None = None
    reason: str | None = None
    failed: Failed | None = None
    resolved: list[str] = field(default_factory=list)

    @property
    def number(self) -> int:
        """Where the cursor will be."""
        return self.before.number + len(self.payments)

    @property
    def decided(self) -> Decided:
        """What it says of orders, without the cursor."""
        return Decided(
            self.before.partition,
            range(self.before.number + 1, self.number + 1),
            self.payments,
            self.debits,
            self.balances,
            self.opened,
            [] if self.failed is None else [(self.number + 1, self.failed)],
        )


def postings(ledger: Ledger, decided: Sequence[Decided], now: int) -> list[Insert]:
    """List what is inserted for what was decided, by statement; ``now`` is in microseconds."""
    inserts = [
        *_opened(ledger, decided, now),
        _balances(ledger, decided, now),
        *_outcomes(decided, now),
        _charges(decided, now),
        _failures(decided, now),
        _tallies(ledger, decided),
    ]
    return [insert for insert in inserts if insert.rows]


def _opened(ledger: Ledger, decided: Sequence[Decided], now: int) -> Iterator[Insert]:
    currencies = sorted(set(chain.from_iterable(each.opened.values() for each in decided)))
    house = [
        (HOUSE, name_of(currency), kind, currency, None, now)
        for kind, name_of in (("bank", bank_account), ("merchant", merchant_account))
        for currency in currencies
    ]
    yield Insert(ledger.database.insert_new(accounts), _ACCOUNT, house)
    openings = [
        (None, bank_account(currency), name, ledger.opening_balance, currency, now)
        for each in decided
        for name, currency in each.opened.items()
    ]
    yield Insert(_INSERT_TRANSFER, _TRANSFER, openings)


def _balances(ledger: Ledger, decided: Iterable[Decided], now: int) -> Insert:
    rows = [
        (each.partition, name, "customer", name.rpartition("/")[2], balance, now)
        for each in decided
        for name, balance in each.balances.items()
    ]
    return Insert(ledger.database.upsert(accounts, setting=("balance",)), _ACCOUNT, rows)


def _outcomes(decided: Iterable[Decided], now: int) -> Iterator[Insert]:
    ours: list[tuple[Any, ...]] = []
    outside: list[tuple[Any, ...]] = []
    for each in decided:
        rows = [
            (
                each.partition,
                number,
                payment.order_id,
                payment.status,
                payment.amount,
                payment.currency,
                payment.attempts,
                payment.reason,
                now,
                payment.worker,
            )
            for number, payment in zip(each.numbers, each.payments, strict=True)
        ]
        if each.charges:
            outside += [(*row, *charged) for row, charged in zip(rows, each.charges, strict=True)]
        else:
            ours += rows
    yield Insert(_INSERT_OUTCOME, _OUTCOME, ours)
    yield Insert(_INSERT_OUTCOME, _CHARGED, outside)


def _charges(decided: Iterable[Decided], now: int) -> Insert:
    rows = [
        (
            payment.order_id,
            debit,
            merchant_account(payment.currency),
            payment.amount,
            payment.currency,
            now,
        )
        for each in decided
        for payment, debit in zip(each.payments, each.debits, strict=True)
        if debit is not None
    ]
    return Insert(_INSERT_TRANSFER, _TRANSFER, rows)


def _failures(decided: Iterable[Decided], now: int) -> Insert:
    rows = [
        (each.partition, number, *failed, now)
        for each in decided
        for number, failed in each.failures
    ]
    return Insert(_INSERT_FAILURE, _FAILURE, rows)


def _tallies(ledger: Ledger, decided: Iterable[Decided]) -> Insert:
    orders: Counter[tuple[int, str, str]] = Counter()
    high: Counter[tuple[int, str, str]] = Counter()
    low: Counter[tuple[int, str, str]] = Counter()
    for each in decided:
        for payment in each.payments:
            key = each.partition, payment.status, payment.currency
            orders[key] += 1
            high[key] += payment.amount >> LOW_BITS
            low[key] += payment.amount & LOW_MASK
    rows = [(*key, count, high[key], low[key]) for key, count in sorted(orders.items())]
    upsert = ledger.database.upsert(tallies, adding=("orders", "amount_high", "amount_low"))
    return Insert(upsert, _TALLY, rows)
