"""The bank's book: where it is, and what happens where it cannot be used."""

from __future__ import annotations

import sqlite3
from contextlib import closing

import pytest

from tests.integration.test_full_disk import Disk
from tests.support.bank import Bank, problem_of
from tests.support.orderly import Orderly, assert_one_line


def test_its_port_its_book_and_its_balances_are_as_it_is_told(orderly: Orderly) -> None:
    orderly.environment["OPENING_BALANCE"] = "50"
    bank = Bank(orderly)
    try:
        bank.start("--book", "elsewhere/book.db")
        assert bank.charge("L~1~1", 51).status_code == 402
        assert bank.charge("L~2~1", 50).status_code == 200
        assert (orderly.folder / "elsewhere" / "book.db").stat().st_mode & 0o777 == 0o600
        assert "elsewhere/book.db" in bank.said[0]
        assert_one_line(orderly("bank", "--port", str(bank.port)), 2, "is taken", "--port")
        assert bank.stop().code == 0
    finally:
        bank.close()
    assert not (orderly.folder / "var").exists()


def test_a_book_that_cannot_be_used_ends_the_start_in_one_line(orderly: Orderly) -> None:
    (orderly.folder / "text").write_text("no database, " * 100)
    (orderly.folder / "folder").mkdir()
    with sqlite3.connect(orderly.folder / "other.db") as other:
        other.execute("CREATE TABLE theirs (x)")
    other.close()
    with sqlite3.connect(orderly.folder / "newer.db") as newer:
        newer.execute("PRAGMA application_id = 189418241")
        newer.execute("PRAGMA user_version = 99")
    newer.close()
    for name, words in {
        "text": "no SQLite database",
        "folder": "cannot be opened",
        "text/book.db": "cannot be made",
        "other.db": "another program's",
        "newer.db": "another version",
    }.items():
        result = orderly("bank", "--port", "0", "--book", name)
        assert_one_line(result, 3, f"book {name}", words)


def test_a_disk_that_is_full_charges_nothing_and_goes_on_with_room(bank: Bank) -> None:
    bank.start()
    assert bank.charge("L~o-1~1").status_code == 200
    disk = Disk()
    disk.fill(bank.pid)
    for _ in range(3):
        response = bank.charge("L~o-2~1")
        problem_of(
            response, 503, "unavailable", f"book {bank.book.relative_to(bank.orderly.folder)}"
        )
        assert "retry-after" in response.headers
    assert bank.balance() == 99_900
    disk.make_room(bank.pid)
    response = bank.charge("L~o-2~1")
    assert response.status_code == 200
    assert "idempotent-replayed" not in response.headers
    assert bank.balance() == 99_800
    assert len(bank.logged(event="nothing can be posted")) == 1, "and not each time"


@pytest.mark.long
def test_a_book_that_somebody_locks_charges_nothing_meanwhile(bank: Bank) -> None:
    bank.start()
    with closing(sqlite3.connect(bank.book, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        problem_of(bank.charge("L~o-1~1"), 503, "unavailable", "is locked by another program")
    assert "idempotent-replayed" not in bank.charge("L~o-1~1").headers
    assert bank.balance() == 99_900


def test_a_book_that_is_damaged_ends_the_start_in_one_line(bank: Bank) -> None:
    bank.start()
    assert bank.charge("L~o-1~1").status_code == 200
    assert bank.stop().code == 0
    with bank.book.open("r+b") as book:
        book.seek(4096)
        book.write(b"\xff" * 4096 * 3)
    assert_one_line(bank.orderly("bank", "--port", "0"), 3, "book var/bank.db", "is damaged")
