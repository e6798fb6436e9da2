"""A run proves what it touched, and the whole where that is asked for; a signal ends a proof."""

from __future__ import annotations

import os
import pty
import select
import shutil
import signal
import sqlite3
from typing import TYPE_CHECKING

import pytest

from shared.ledger.verification.verify import FEW
from tests.support.eventually import eventually
from tests.support.orderly import Orderly, Result, finish

if TYPE_CHECKING:
    from pathlib import Path

THERE = FEW + 1000
_VIEW = """
CREATE VIEW transfers AS SELECT moved.* FROM moved, (
  WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i FROM n WHERE i < 0
)"""
ENDLESS = ("ALTER TABLE transfers RENAME TO moved", _VIEW)
"""What makes a proof come to a statement that never ends."""
_OVERFLOWING = """
CREATE VIEW transfers AS SELECT transfer_id, order_id, debit, credit, currency, made_at,
abs(amount - amount - 9223372036854775807 - 1) AS amount FROM moved"""
UNREADABLE = ("ALTER TABLE transfers RENAME TO moved", _OVERFLOWING)
"""What makes a proof come to a statement that fails."""


@pytest.fixture(scope="module")
def grown(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ledger that has too many orders to be proved whole after every run."""
    orderly = Orderly(tmp_path_factory.mktemp("grown"))
    report = orderly.json("run", "--orders", str(THERE), "--seed", "7")
    assert report["verified"] is True
    return orderly.ledger


@pytest.fixture
def shop(grown: Path, orderly: Orderly) -> Orderly:
    """The command, with a copy of that ledger."""
    orderly.ledger.parent.mkdir()
    shutil.copy(grown, orderly.ledger)
    return orderly


def change(shop: Orderly, *statements: str) -> None:
    with sqlite3.connect(shop.ledger) as connection:
        for statement in statements:
            connection.execute(statement)
    connection.close()


def rows(result: Result) -> dict[str, str]:
    return {line[:16].strip(): line[17:] for line in result.out.splitlines()}


@pytest.mark.long
def test_damage_elsewhere_is_left_to_the_proof_of_the_whole(shop: Orderly) -> None:
    change(shop, "UPDATE outcomes SET amount = amount + 1 WHERE partition = 3 AND number = 2")
    result = shop("run", "--orders", "1", "--seed", "8")
    assert (result.code, rows(result)["verified"]) == (0, "yes, what this run touched")
    assert "orderly verify proves the whole ledger" in result.out
    assert shop.json("run", "--orders", "1", "--seed", "9")["verified"] is True
    assert shop.json("run")["verified"] is True  # which touches nothing

    assert shop.json("verify", code=1)["violations"][0]["check"] == "outcome"
    proving = shop("run", "--orders", "1", "--seed", "10", "--prove")
    assert (proving.code, rows(proving)["verified"]) == (1, "NO")
    assert "outcome: order " in proving.err


@pytest.mark.long
@pytest.mark.parametrize(
    ("statement", "check"),
    [
        ("UPDATE accounts SET balance = balance + 1 WHERE kind = 'customer'", "balance"),
        ("UPDATE transfers SET amount = amount + 1 WHERE order_id IS NULL", "transfer"),
    ],
)
def test_a_run_sees_damage_to_the_accounts_that_it_touches(
    shop: Orderly, statement: str, check: str
) -> None:
    change(shop, statement)
    result = shop("run", "--orders", "3", "--seed", "8")
    assert (result.code, rows(result)["verified"]) == (1, "NO")
    assert f"orderly: {check}: account customer/" in result.err


@pytest.mark.long
def test_a_run_sees_damage_to_the_orders_that_it_settles(shop: Orderly) -> None:
    trigger = (
        "CREATE TRIGGER spoil AFTER INSERT ON outcomes BEGIN "
        "UPDATE outcomes SET amount = amount + 1 "
        "WHERE partition = new.partition AND number = new.number; END"
    )
    change(shop, trigger)
    result = shop("run", "--orders", "3", "--seed", "8")
    assert (result.code, rows(result)["verified"]) == (1, "NO")
    assert "outcome: order " in result.err


def test_a_ledger_that_this_run_filled_is_proved_whole(orderly: Orderly) -> None:
    result = orderly("run", "--orders", "300", "--seed", "8")
    assert rows(result)["verified"] == "yes"
    assert "orderly verify proves" not in result.out


@pytest.mark.long
@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)
def test_a_signal_ends_verify_in_mid_statement(shop: Orderly, number: int, code: int) -> None:
    change(shop, *ENDLESS)
    result = stopped(shop, number, "verify")
    assert (result.code, result.out) == (code, "")
    assert "orderly: stopped before the proof was done" in result.err
    assert "Traceback" not in result.err


@pytest.mark.long
def test_a_signal_ends_the_proof_of_a_run_which_reports_what_it_settled(shop: Orderly) -> None:
    change(shop, *ENDLESS)
    # Nothing is paid, so nothing has to be written where the endless view is now.
    shop.environment["GATEWAY_FAULTS"] = "permanent=1"
    result = stopped(shop, signal.SIGTERM, "run", "--orders", "5", "--seed", "8", "--prove")
    assert result.code == 1
    told = rows(result)
    assert (told["created"], told["dead"], told["open"]) == ("5", "5", "0")
    assert told["verified"] == "not proved"
    assert "stopped before the proof was done; orderly verify proves it" in result.err
    assert "Traceback" not in result.err
    change(shop, "DROP VIEW transfers", "ALTER TABLE moved RENAME TO transfers")
    assert shop.json("verify")["dead"] == 5


def test_a_ledger_in_trouble_ends_the_proof_of_a_run_which_reports_what_it_settled(
    shop: Orderly,
) -> None:
    change(shop, *UNREADABLE)
    # Nothing is paid, so nothing has to be written where the view is now.
    shop.environment["GATEWAY_FAULTS"] = "permanent=1"
    words = "run", "--orders", "5", "--prove", "--seed"
    result = shop(*words, "8")
    told = rows(result)
    assert (told["created"], told["dead"], told["open"]) == ("5", "5", "0")
    assert told["verified"] == "not proved"
    assert_trouble(result)
    result = shop(*words, "9", "--json")
    assert (result.json["dead"], result.json["verified"]) == (5, False)
    assert_trouble(result)


def assert_trouble(result: Result) -> None:
    """Hold a run to the ledger's error behind its report."""
    (*_, said) = result.err.splitlines()
    assert (result.code, said.startswith("orderly: ledger sqlite:///")) == (3, True)
    assert "integer overflow" in said
    assert "Traceback" not in result.err


@pytest.mark.long
def test_verify_as_json_shows_no_progress(shop: Orderly) -> None:
    code, out, said = on_terminal(shop, "verify", "--json")
    assert (code, said) == (0, "")
    assert '"ok": true' in out
    code, out, said = on_terminal(shop, "verify")
    assert code == 0
    assert "verifying" in said
    assert "%" in said


def stopped(shop: Orderly, number: int, *arguments: str) -> Result:
    """Start a command on a terminal, send it a signal while it proves, and wait for its end."""
    ours, theirs = pty.openpty()
    process = shop.start(*arguments, stderr=theirs)
    os.close(theirs)
    said = bytearray()
    eventually(lambda: b"verifying" in _hear(ours, said), within=60)
    os.kill(process.pid, number)
    ended = finish(process)
    while _read(ours, said):
        pass
    os.close(ours)
    return Result(ended.code, ended.out, said.decode())


def on_terminal(shop: Orderly, *arguments: str) -> tuple[int, str, str]:
    """Run a command whose standard error is a terminal."""
    ours, theirs = pty.openpty()
    process = shop.start(*arguments, stderr=theirs)
    os.close(theirs)
    ended = finish(process)
    said = bytearray()
    while _read(ours, said):
        pass
    os.close(ours)
    return ended.code, ended.out, said.decode()


def _hear(terminal: int, said: bytearray) -> bytearray:
    _read(terminal, said)
    return said


def _read(terminal: int, said: bytearray) -> bool:
    """Take in what is there by now; say whether it was anything."""
    if not select.select([terminal], [], [], 0.1)[0]:
        return False
    try:
        chunk = os.read(terminal, 65536)
    except OSError:  # how a terminal says that nobody is at its other end
        return False
    said += chunk
    return bool(chunk)
