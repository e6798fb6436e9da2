"""A proof runs beside who asked for it, ends when that says so, and is of what was touched."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import sqlalchemy as sa

from services.background_proof import Stopped, prove
from shared.errors import LedgerUnavailable
from shared.ledger.verification import verify as proofs
from shared.ledger.verification.verify import Standing, is_most, standing, verify, verify_since
from tests.support.ledgers import order, take_in
from tests.support.settling import settler

if TYPE_CHECKING:
    from collections.abc import Callable

    from shared.ledger.ledger import Ledger
    from shared.ledger.verification.proof import Step

    NewLedger = Callable[..., Ledger]

ENDLESS = {
    "sqlite": "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT 1 FROM n "
    "WHERE i < 0",
    "postgresql": "SELECT pg_sleep(600)",
}


def settled(new_ledger: NewLedger, orders: int) -> Ledger:
    ledger = new_ledger(partitions=1)
    take_in(ledger, [order(f"o-{number}", f"c-{number}") for number in range(orders)])
    settler(ledger).settle_partition(0)
    return ledger


def test_a_proof_is_broken_off_in_mid_statement(new_ledger: NewLedger) -> None:
    ledger = settled(new_ledger, 3)
    shown: list[float] = []

    def work(connection: sa.Connection, step: Step) -> None:
        step(0.5)
        connection.execute(sa.text(ENDLESS[connection.dialect.name]))

    with pytest.raises(Stopped):
        prove(ledger.database, work, is_over=lambda: 0.5 in shown, show=shown.append)
    # The connection is whole, or gone: the next one who asks is answered.
    assert ledger.database.ask(lambda connection: verify(ledger, connection)).ok


def test_a_proof_is_broken_off_between_statements(new_ledger: NewLedger) -> None:
    ledger = settled(new_ledger, 3)

    def work(_: sa.Connection, step: Step) -> None:
        while True:
            step(0.5)

    shown: list[float] = []
    with pytest.raises(Stopped):
        prove(ledger.database, work, is_over=lambda: 0.5 in shown, show=shown.append)


def test_a_proof_tells_how_far_it_is_and_what_went_wrong(new_ledger: NewLedger) -> None:
    ledger = settled(new_ledger, 500)
    shares: list[float] = []

    def work(connection: sa.Connection, step: Step) -> bool:
        def told(share: float) -> None:
            shares.append(share)
            step(share)

        return verify(ledger, connection, told).ok

    assert prove(ledger.database, work, is_over=lambda: False, show=lambda _: None)
    assert shares == sorted(shares)
    assert 0 < shares[0] < shares[-1] == 1

    def fail(_: sa.Connection, __: Step) -> None:
        raise LedgerUnavailable("gone")

    with pytest.raises(LedgerUnavailable, match="gone"):
        prove(ledger.database, fail, is_over=lambda: False, show=lambda _: None)


def test_what_was_touched_since_is_proved_and_nothing_else(new_ledger: NewLedger) -> None:
    ledger = settled(new_ledger, 10)
    before = ledger.database.ask(standing)
    take_in(ledger, [order("new", "c-1"), order("dear", "c-2", 10**9), order("own", "c-new")])
    settler(ledger).settle_partition(0)
    assert _since(ledger, before) == []

    spoil(ledger, "UPDATE outcomes SET amount = 1 WHERE order_id = 'o-5'")
    spoil(ledger, "UPDATE accounts SET balance = 1 WHERE account = 'customer/c-7/USD'")
    assert _since(ledger, before) == []
    spoil(ledger, "UPDATE outcomes SET amount = 1 WHERE order_id = 'dear'")
    spoil(ledger, "UPDATE accounts SET balance = 1 WHERE account = 'customer/c-1/USD'")
    # An older transfer of an account that was touched.
    spoil(ledger, "UPDATE transfers SET amount = 1 WHERE order_id = 'o-2'")
    found = _since(ledger, before)
    assert [check for check, _ in found] == ["outcome", "tally", "balance", "balance"]
    assert "order dear " in found[0][1]
    assert {where for _, where in found[2:]} == {
        "account customer/c-1/USD",
        "account customer/c-2/USD",
    }


def test_what_is_small_or_mostly_touched_is_proved_whole(
    new_ledger: NewLedger, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = settled(new_ledger, 10)
    before = ledger.database.ask(standing)
    take_in(ledger, [order(f"new-{number}") for number in range(9)])
    ask = ledger.database.ask
    assert ask(lambda connection: is_most(connection, before))
    monkeypatch.setattr(proofs, "FEW", 5)
    assert not ask(lambda connection: is_most(connection, before))
    take_in(ledger, [order("new-9")])
    assert ask(lambda connection: is_most(connection, before))


def _since(ledger: Ledger, before: Standing) -> list[tuple[str, str]]:
    proof = ledger.database.ask(lambda connection: verify_since(ledger, connection, before))
    return [(found.check, found.where) for found in proof.violations]


def spoil(ledger: Ledger, statement: str) -> None:
    with ledger.database.write() as connection:
        assert connection.execute(sa.text(statement)).rowcount == 1
