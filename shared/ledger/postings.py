"""What a settlement writes: accounts, transfers, outcomes and tallies, as rows.

They are made before the transaction begins, so that it does nothing but write.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
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
    from collections.abc import Iterator

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

    @property
    def number(self) -> int:
        """Where the cursor will be."""
        return self.before.number + len(self.payments)


def postings(ledger: Ledger, settlement: Settlement, now: int) -> list[Insert]:
    """List what a settlement inserts, statement by statement; ``now`` is in microseconds."""
    inserts = [
        *_opened(ledger, settlement, now),
        _balances(ledger, settlement, now),
        _outcomes(settlement, now),
        _charges(settlement, now),
        _failures(settlement, now),
        _tallies(ledger, settlement),
    ]
    return [insert for insert in inserts if insert.rows]


def _opened(ledger: Ledger, settlement: Settlement, now: int) -> Iterator[Insert]:
    currencies = sorted(set(settlement.opened.values()))
    house = [
        (HOUSE, name_of(currency), kind, currency, None, now)
        for kind, name_of in (("bank", bank_account), ("merchant", merchant_account))
        for currency in currencies
    ]
    yield Insert(ledger.database.insert_new(accounts), _ACCOUNT, house)
    openings = [
        (None, bank_account(currency), name, ledger.opening_balance, currency, now)
        for name, currency in settlement.opened.items()
    ]
    yield Insert(_INSERT_TRANSFER, _TRANSFER, openings)


def _balances(ledger: Ledger, settlement: Settlement, now: int) -> Insert:
    rows = [
        (settlement.before.partition, name, "customer", name.rpartition("/")[2], balance, now)
        for name, balance in settlement.balances.items()
    ]
    return Insert(ledger.database.upsert(accounts, setting=("balance",)), _ACCOUNT, rows)


def _outcomes(settlement: Settlement, now: int) -> Insert:
    partition, before = settlement.before.partition, settlement.before.number
    rows = [
        (
            partition,
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
        for number, payment in enumerate(settlement.payments, before + 1)
    ]
    return Insert(_INSERT_OUTCOME, _OUTCOME, rows)


def _charges(settlement: Settlement, now: int) -> Insert:
    rows = [
        (
            payment.order_id,
            debit,
            merchant_account(payment.currency),
            payment.amount,
            payment.currency,
            now,
        )
        for payment, debit in zip(settlement.payments, settlement.debits, strict=True)
        if debit is not None
    ]
    return Insert(_INSERT_TRANSFER, _TRANSFER, rows)


def _failures(settlement: Settlement, now: int) -> Insert:
    failed = settlement.failed
    rows = (
        [(settlement.before.partition, settlement.number + 1, *failed, now)]
        if failed is not None
        else []
    )
    return Insert(_INSERT_FAILURE, _FAILURE, rows)


def _tallies(ledger: Ledger, settlement: Settlement) -> Insert:
    orders: Counter[tuple[str, str]] = Counter()
    high: Counter[tuple[str, str]] = Counter()
    low: Counter[tuple[str, str]] = Counter()
    for payment in settlement.payments:
        key = payment.status, payment.currency
        orders[key] += 1
        high[key] += payment.amount >> LOW_BITS
        low[key] += payment.amount & LOW_MASK
    partition = settlement.before.partition
    rows = [(partition, *key, count, high[key], low[key]) for key, count in sorted(orders.items())]
    upsert = ledger.database.upsert(tallies, adding=("orders", "amount_high", "amount_low"))
    return Insert(upsert, _TALLY, rows)
