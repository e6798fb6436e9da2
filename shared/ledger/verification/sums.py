"""Verification, sum by sum: tallies, heads, transfers and balances."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import sqlalchemy as sa

from shared.ledger.accounts import bank_account
from shared.ledger.database.tables import (
    HOUSE,
    LOW_BITS,
    accounts,
    identities,
    outcomes,
    pending,
    resolutions,
    tallies,
    transfers,
)
from shared.ledger.verification.proof import PAGE, Counts, Homes, Proof

if TYPE_CHECKING:
    from shared.ledger.ledger import Ledger
    from shared.ledger.positions import Position


def check_tallies(connection: sa.Connection, proof: Proof, counted: Counts) -> None:
    """Hold the running counters against the outcomes that were counted."""
    kept = read_tallies(connection)
    found = {kind: count for kind, count in counted.items() if kind[1] != "retried"}
    for kind in sorted(kept.keys() | found.keys()):
        said, is_so = kept.get(kind, (0, 0)), found.get(kind, (0, 0))
        if said != is_so:
            partition, status, currency = kind
            proof.add(
                "tally",
                f"partition {partition}, {status} in {currency}",
                f"{is_so[0]} orders of {is_so[1]} are, the tally says {said[0]} of {said[1]}",
            )


def read_tallies(connection: sa.Connection) -> Counts:
    """Read the running counters."""
    return {
        (row.partition, row.status, row.currency): (
            row.orders,
            (row.amount_high << LOW_BITS) + row.amount_low,
        )
        for row in connection.execute(sa.select(tallies))
    }


def check_heads(
    ledger: Ledger, connection: sa.Connection, proof: Proof, positions: list[Position]
) -> None:
    """Hold every partition's head and cursor against the identities."""
    check_positions(ledger, proof, positions)
    known = _count_by_partition(connection, identities)
    for position in positions:
        created = known.get(position.partition, 0)
        if position.created != created:
            proof.add(
                "identity",
                f"partition {position.partition}",
                f"{position.created} orders were created, {created} are known",
            )


def _count_by_partition(connection: sa.Connection, table: sa.Table) -> dict[int, int]:
    rows = connection.execute(
        sa.select(table.c.partition, sa.func.count()).group_by(table.c.partition)
    )
    return dict(rows.all())


def check_pending(connection: sa.Connection, proof: Proof, positions: list[Position]) -> None:
    """Count the orders that are taken up and not settled, and hold the cursors against that."""
    counted = _count_by_partition(connection, pending)
    for position in positions:
        found = counted.pop(position.partition, 0)
        if position.pending != found:
            proof.add(
                "pending",
                f"partition {position.partition}",
                f"{found} orders wait for their outcome, the cursor says {position.pending}",
            )
    for partition, found in counted.items():
        proof.add("pending", f"partition {partition}", f"{found} orders wait, and it has no cursor")
    for order_id, status in connection.execute(_STRAY_RESOLUTIONS):
        proof.add("resolution", f"order {order_id}", f"was resolved, and is {status}")


def check_positions(ledger: Ledger, proof: Proof, positions: list[Position]) -> None:
    """See that every partition has a head and a cursor, and that none is beyond its head."""
    for partition in sorted(set(range(ledger.partitions)) - {each.partition for each in positions}):
        proof.add("numbers", f"partition {partition}", "its head or its cursor is missing")
    for position in positions:
        if position.cursor > position.head:
            proof.add(
                "cursor",
                f"partition {position.partition}",
                f"the cursor is at {position.cursor}, beyond the head at {position.head}",
            )


_STRAY_TRANSFERS = (
    sa.select(transfers.c.transfer_id, transfers.c.order_id)
    .outerjoin(identities, identities.c.order_id == transfers.c.order_id)
    .outerjoin(
        outcomes,
        (outcomes.c.partition == identities.c.partition)
        & (outcomes.c.number == identities.c.number),
    )
    .where(transfers.c.order_id.is_not(None), sa.func.coalesce(outcomes.c.status, "open") != "paid")
)


_STRAY_RESOLUTIONS = (
    sa.select(resolutions.c.order_id, sa.func.coalesce(outcomes.c.status, "unknown"))
    .outerjoin(identities, identities.c.order_id == resolutions.c.order_id)
    .outerjoin(
        outcomes,
        (outcomes.c.partition == identities.c.partition)
        & (outcomes.c.number == identities.c.number),
    )
    .where(identities.c.order_id.is_(None) | outcomes.c.status.is_not(None))
    .order_by(resolutions.c.order_id)
)


def check_accounts(ledger: Ledger, connection: sa.Connection, proof: Proof, homes: Homes) -> None:
    """Add up every account, in Python's integers, which have no largest."""
    for transfer_id, order_id in connection.execute(_STRAY_TRANSFERS):
        proof.add(
            "transfer", f"order {order_id}", f"transfer {transfer_id} is of no order that is paid"
        )
    sums: Counter[str] = Counter()
    openings: Counter[str] = Counter()
    moved: Counter[str] = Counter()
    streaming = connection.execution_options(yield_per=PAGE)
    for count, row in enumerate(streaming.execute(sa.select(transfers))):
        if count % PAGE == 0:
            proof.advance(PAGE)
        sums[row.debit] -= row.amount
        sums[row.credit] += row.amount
        if row.order_id is None:
            openings[row.credit] += 1
            bank = bank_account(row.currency)
            if (row.debit, row.amount) != (bank, ledger.opening_balance):
                proof.add(
                    "transfer",
                    f"transfer {row.transfer_id}",
                    f"is of no order, and does not open an account with {ledger.opening_balance}",
                )
        else:
            moved[row.currency] += row.amount
    if {name: amount for name, amount in moved.items() if amount} != {
        name: amount for name, amount in proof.totals.paid_amount.items() if amount
    }:
        proof.add(
            "tally",
            "paid amount",
            f"transfers move {dict(moved)}, the tallies say {proof.totals.paid_amount}",
        )
    _check_accounts(streaming, proof, homes, sums, openings)


def _check_accounts(
    connection: sa.Connection,
    proof: Proof,
    homes: Homes,
    sums: Counter[str],
    openings: Counter[str],
) -> None:
    for row in connection.execute(sa.select(accounts)):
        total = sums.pop(row.account, 0)
        times_opened = openings.pop(row.account, 0)
        kind, *_, currency = row.account.split("/")
        home = homes.get(row.account, row.partition) if kind == "customer" else HOUSE
        if (row.partition, row.kind, row.currency) != (home, kind, currency):
            is_kept = f"is kept in partition {row.partition} as a {row.kind}'s in {row.currency}"
            proof.add("account", f"account {row.account}", is_kept)
        if kind != "customer":
            continue
        if row.balance != total:
            proof.add(
                "balance",
                f"account {row.account}",
                f"holds {row.balance}, its transfers come to {total}",
            )
        if times_opened != 1:
            proof.add("account", f"account {row.account}", f"was opened {times_opened} times")
    for name in sorted(sums):
        proof.add("account", f"account {name}", "has transfers, but does not exist")


def check_equation(proof: Proof) -> None:
    """See that every order is somewhere, and nowhere twice."""
    found = proof.totals
    if not found.is_balanced:
        proof.add(
            "equation",
            "ledger",
            f"created {found.created} is not paid {found.paid} + declined {found.declined} "
            f"+ dead {found.dead} + open {found.open}",
        )
