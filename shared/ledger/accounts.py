"""Accounts: what they are called, and what customers have on theirs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from shared.ledger.database.tables import accounts

if TYPE_CHECKING:
    import sqlalchemy as sa

    from shared.ledger.ledger import Ledger


def customer_account(customer_id: str, currency: str) -> str:
    """Name a customer's account; a slash cannot occur in a customer's id."""
    return f"customer/{customer_id}/{currency}"


def merchant_account(currency: str) -> str:
    """Name the account that payments go to."""
    return f"merchant/{currency}"


def bank_account(currency: str) -> str:
    """Name the account that opening balances come from."""
    return f"bank/{currency}"


def balances(
    ledger: Ledger, connection: sa.Connection, partition: int, names: set[str]
) -> dict[str, int]:
    """Read the balances of those accounts of a partition that exist, in minor units."""
    database = ledger.database
    known = database.select_any(
        (accounts.c.account, accounts.c.balance), accounts.c.account, of=accounts.c.partition
    )
    values = database.backend.bind_list(sorted(names))
    rows = connection.execute(known, {"values": values, "of": partition})
    return dict(rows.all())
