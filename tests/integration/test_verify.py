"""`orderly verify` finds every kind of damage, and names it: which rule, and where."""

from __future__ import annotations

import shutil
import sqlite3
from typing import TYPE_CHECKING

import pytest

from services.payment.gateway import LedgerGateway, PermanentFailure
from services.payment.settle import Settler
from shared.environment import load_settings
from shared.ledger import dead
from shared.ledger.dead_letters import dead_letters
from shared.ledger.ledger import open_ledger
from shared.ledger.verification.verify import Standing, Violation, verify, verify_since
from tests.support.damaged_ledgers import CASES, DEAD, DECLINED, LAST, PAID, RETRIED, Case
from tests.support.ledgers import assert_proven, order, take_in
from tests.support.orderly import Orderly

if TYPE_CHECKING:
    from pathlib import Path

    from services.payment.gateway import Charge, Declined, Paid

# In a ledger of one partition, in the order of their numbers. The account starts with 1000.
BLOCK = [
    order(PAID, "c-1", 300),
    order(DECLINED, "c-1", 5000),
    order(DEAD, "c-2", 100),
    order(RETRIED, "c-2", 200),
    order(LAST, "c-3", 50),
    order("o-too-much", "c-4", 5000),
]


class Refusing(LedgerGateway):
    """Refuses one order always, and another one at its first attempt."""

    def charge(self, charge: Charge) -> Paid | Declined:
        if (charge.order.order_id, charge.attempt) in {(DEAD, 1), (DEAD, 2), (RETRIED, 1)}:
            raise PermanentFailure("stolen card")
        return super().charge(charge)


@pytest.fixture(scope="module")
def settled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ledger that holds an order of every fate, and verifies; numbers 1 to 3 are one entry."""
    path = tmp_path_factory.mktemp("settled") / "orderly.db"
    settings = load_settings(ledger_url=f"sqlite:///{path}", partitions=1, opening_balance=1000)
    ledger = open_ledger(settings)
    take_in(ledger, BLOCK, batch_size=3)
    worker = Settler(ledger, Refusing(), worker="w-1", batch_size=200, max_attempts=5)
    worker.settle_partition(0)
    with ledger.database.read() as connection:
        letters = dead_letters(connection, [RETRIED])
    dead.retry(ledger, letters)
    worker.settle_partition(0)
    assert_proven(ledger)
    ledger.database.close()
    with sqlite3.connect(path) as raw:
        found = dict(raw.execute("SELECT number, status FROM outcomes"))
        raw.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    raw.close()
    fates = ["paid", "declined", "dead", "retried", "paid", "declined", "paid"]
    assert found == dict(enumerate(fates, 1))
    return path


def damage(settled: Path, folder: Path, *statements: str) -> Orderly:
    """Copy the settled ledger and change it by hand."""
    damaged = Orderly(folder)
    damaged.ledger.parent.mkdir()
    shutil.copy(settled, damaged.ledger)
    with sqlite3.connect(damaged.ledger) as connection:
        for statement in statements:
            assert connection.execute(statement).rowcount != 0, statement
    connection.close()
    return damaged


@pytest.mark.parametrize("name", CASES)
def test_a_damage_is_found_and_named(settled: Path, tmp_path: Path, name: str) -> None:
    case = CASES[name]
    damaged = damage(settled, tmp_path, *case.statements)
    ledger = open_ledger(load_settings(ledger_url=f"sqlite:///{damaged.ledger}"))
    with ledger.database.read() as connection:
        proof = verify(ledger, connection)
    ledger.database.close()
    assert names(proof.violations, case), proof.violations


# Rows to which no order leads.
LEFT_TO_THE_WHOLE = {
    "an account is kept twice",
    "the merchant's account is removed",
    "an account appears from nowhere",
    "an identity appears beyond the journal",
}


@pytest.mark.parametrize("name", sorted(CASES.keys() - LEFT_TO_THE_WHOLE))
def test_a_run_finds_damage_to_what_it_touched(settled: Path, tmp_path: Path, name: str) -> None:
    damaged = damage(settled, tmp_path, *CASES[name].statements)
    ledger = open_ledger(load_settings(ledger_url=f"sqlite:///{damaged.ledger}"))
    with ledger.database.read() as connection:
        proof = verify_since(ledger, connection, Standing({}, {}, {}))
    ledger.database.close()
    assert not proof.ok


@pytest.mark.parametrize(
    "name", ["a transfer is removed", "a balance is changed", "the cursor is behind"]
)
def test_the_command_names_the_damage_and_fails(settled: Path, tmp_path: Path, name: str) -> None:
    case = CASES[name]
    damaged = damage(settled, tmp_path, *case.statements)
    proof = damaged.json("verify", code=1)
    assert proof["ok"] is False
    assert names([Violation(**each) for each in proof["violations"]], case), proof
    shown = damaged("verify")
    assert shown.code == 1
    assert case.check in shown.out + shown.err
    assert case.where in shown.out + shown.err


def test_two_identities_of_one_number_are_no_doubled_transfer(
    settled: Path, tmp_path: Path
) -> None:
    case = CASES["an identity has another order's number"]
    violations = damage(settled, tmp_path, *case.statements).json("verify", code=1)["violations"]
    assert {each["check"] for each in violations} == {"identity"}
    assert all(PAID in each["where"] or DECLINED in each["where"] for each in violations)


def names(violations: list[Violation], case: Case) -> bool:
    return any(each.check == case.check and case.where in each.where for each in violations)


def test_the_ledger_is_sound_before_it_is_damaged(settled: Path, tmp_path: Path) -> None:
    proof = damage(settled, tmp_path).json("verify")
    assert (proof["ok"], proof["violations"]) == (True, [])
    assert (proof["created"], proof["paid"], proof["declined"], proof["dead"]) == (6, 3, 2, 1)


def test_open_orders_are_no_violation(tmp_path: Path) -> None:
    pipeline = Orderly(tmp_path)
    ledger = open_ledger(load_settings(ledger_url=f"sqlite:///{pipeline.ledger}"))
    take_in(ledger, [order(f"o-{number}", f"c-{number}") for number in range(40)])
    Settler(ledger, LedgerGateway(), worker="w", batch_size=2, max_attempts=5).settle_partition(3)
    ledger.database.close()
    proof = pipeline.json("verify")
    assert proof["ok"] is True
    assert proof["open"] > 0
    assert proof["paid"] > 0


def test_more_violations_than_anybody_reads_are_counted(settled: Path, tmp_path: Path) -> None:
    damaged = damage(
        settled,
        tmp_path,
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 250) "
        "INSERT INTO accounts "
        "SELECT 0, 'customer/x-' || i || '/USD', 'customer', 'USD', 0, 0 FROM n",
    )
    violations = damaged.json("verify", code=1)["violations"]
    assert len(violations) == 101
    assert violations[-1]["message"] == "and 150 more"
