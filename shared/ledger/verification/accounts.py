"""Verification of some accounts: each holds the sum of its transfers, and was opened once."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import TYPE_CHECKING

import sqlalchemy as sa

from shared.ledger.accounts import bank_account
from shared.ledger.database.tables import LOW_BITS, LOW_MASK, accounts, transfers

if TYPE_CHECKING:
    from shared.ledger.ledger import Ledger
    from shared.ledger.verification.proof import Homes, Proof


def check_touched_accounts(
    ledger: Ledger, connection: sa.Connection, proof: Proof, homes: Homes
) -> None:
    """Add up the transfers of customers' accounts, and hold the accounts against that.

    Nothing leads from an account to its transfers but a look at all of them, in which the database
    picks and sums those of these accounts. Sums are in halves, which cannot overflow.
    """
    if not homes:
        return
    sums: Counter[str] = Counter()
    opened: Counter[str] = Counter()
    for row in _moved(ledger, connection, list(homes)):
        amount = (int(row.high) << LOW_BITS) + int(row.low)
        sums[row.debit] -= amount
        sums[row.credit] += amount
        if row.opens:
            opened[row.credit] += row.times
            bank, right = bank_account(row.currency), ledger.opening_balance * row.times
            if (row.debit, amount) != (bank, right):
                proof.add(
                    "transfer",
                    f"account {row.credit}",
                    f"was opened with {amount} from {row.debit}, not {right} from {bank}",
                )
    for account, partition, kind, currency, balance in _there(ledger, connection, homes):
        home = homes.pop(account)
        if (partition, kind, currency) != (home, "customer", account.rpartition("/")[2]):
            is_kept = f"is kept in partition {partition} as a {kind}'s in {currency}"
            proof.add("account", f"account {account}", is_kept)
        if balance != sums[account]:
            proof.add(
                "balance",
                f"account {account}",
                f"holds {balance}, its transfers come to {sums[account]}",
            )
        if opened[account] != 1:
            proof.add("account", f"account {account}", f"was opened {opened[account]} times")
    for account in sorted(homes):
        proof.add("account", f"account {account}", "has transfers, but does not exist")


def _moved(
    ledger: Ledger, connection: sa.Connection, names: list[str]
) -> sa.CursorResult[tuple[object, ...]]:
    backend = ledger.database.backend
    is_opening = transfers.c.order_id.is_(None)
    query = (
        sa.select(
            transfers.c.debit,
            transfers.c.credit,
            transfers.c.currency,
            is_opening.label("opens"),
            sa.func.count().label("times"),
            sa.func.sum(transfers.c.amount.bitwise_rshift(sa.cast(LOW_BITS, sa.Integer))).label(
                "high"
            ),
            sa.func.sum(transfers.c.amount.bitwise_and(LOW_MASK)).label("low"),
        )
        .where(
            backend.any_of(transfers.c.debit, "values")
            | backend.any_of(transfers.c.credit, "values")
        )
        .group_by(transfers.c.debit, transfers.c.credit, transfers.c.currency, is_opening)
    )
    return connection.execute(query, {"values": backend.bind_list(names)})


def _there(
    ledger: Ledger, connection: sa.Connection, homes: Homes
) -> list[tuple[str, int, str, str, int]]:
    """Read those of the accounts that exist, where they should be."""
    database = ledger.database
    columns = (accounts.c.account, accounts.c.partition, accounts.c.kind, accounts.c.currency)
    query = database.select_any(
        (*columns, accounts.c.balance), accounts.c.account, of=accounts.c.partition
    )
    by_home: defaultdict[int, list[str]] = defaultdict(list)
    for account, partition in homes.items():
        by_home[partition].append(account)
    return [
        tuple(row)
        for partition, names in by_home.items()
        for row in connection.execute(
            query, {"values": database.backend.bind_list(names), "of": partition}
        )
    ]
