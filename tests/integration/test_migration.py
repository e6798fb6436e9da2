"""A ledger of version 4 is carried over: what was settled in it, what is open, and what is dead."""

from __future__ import annotations

import gzip
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
import pytest

from tests.support.orderly import Orderly, assert_one_line, finish
from tests.support.scaled import Scaled

if TYPE_CHECKING:
    from tests.support.servers.postgres_server import Postgres
    from tests.support.servers.redis_server import Redis

DUMP = Path(__file__).parents[1] / "support" / "ledger_v4.sql.gz"
"""What version 0.1.0 wrote: forty orders settled, dead ones retried and discarded, ten open."""

COUNTS = {"created": 50, "paid": 37, "declined": 0, "dead": 3, "open": 10}
NEW_IN_5 = {
    "ledger": ["gateway"],
    "cursors": ["pending"],
    "journal": ["generation"],
    "outcomes": ["generation", "reference", "doubtful_since"],
    "workers": ["calls_out"],
}


@pytest.fixture
def old(orderly: Orderly) -> Orderly:
    """The command, with a ledger of version 4."""
    orderly.ledger.parent.mkdir()
    with closing(sqlite3.connect(orderly.ledger)) as connection:
        connection.executescript(gzip.decompress(DUMP.read_bytes()).decode())
        connection.execute("PRAGMA journal_mode = WAL")
    return orderly


def counts(orderly: Orderly) -> dict[str, int]:
    status = orderly.json("status")
    return {name: status[name] for name in COUNTS}


def test_what_only_reads_says_what_carries_it_over(old: Orderly) -> None:
    for command in (("status",), ("verify",), ("dead", "list")):
        said = old(*command)
        assert_one_line(said, 3, "schema version 4", "needs 5", "orderly migrate carries it over")


def test_it_is_carried_over_with_all_that_is_in_it(old: Orderly) -> None:
    assert old("migrate").code == 0
    assert counts(old) == COUNTS
    assert old.json("verify")["ok"]
    report = old.json("run")
    assert (report["recovered"], report["verified"]) == (10, True)
    assert old("dead", "retry", "--all").code == 0
    assert old.json("run")["verified"]
    assert len(old("journal").out.splitlines()) == 50
    assert counts(old) == COUNTS | {"paid": 49, "dead": 1, "open": 0}  # one was discarded
    assert old.json("verify")["ok"]


def test_a_run_carries_it_over_by_itself_and_goes_on(old: Orderly) -> None:
    report = old.json("run", "--orders", "30", "--seed", "5")
    assert (report["created"], report["recovered"], report["verified"]) == (30, 10, True)
    assert old.json("verify")["ok"]


def test_nobody_is_left_behind_who_goes_on_by_the_rules_of_before(old: Orderly) -> None:
    with closing(sqlite3.connect(old.ledger)) as other:
        other.execute("SELECT count(*) FROM journal").fetchone()
        assert_one_line(old("migrate"), 3, "is in use by another process", "let that end")
    assert old("migrate").code == 0
    assert old.json("verify")["ok"]


def test_orders_that_an_outside_gateway_may_know_by_another_key_are_not_asked_for(
    old: Orderly,
) -> None:
    old.environment["PAYMENT_GATEWAY"] = "examples.own_gateway:CardNetwork"
    said = old("migrate")
    assert_one_line(said, 3, "10 of its orders are open", "other keys", "program that made it")
    with closing(sqlite3.connect(old.ledger)) as connection:
        assert connection.execute("SELECT schema_version FROM ledger").fetchone() == (4,)
    del old.environment["PAYMENT_GATEWAY"]
    assert old.json("run")["verified"]


def test_several_at_once_carry_it_over_once(old: Orderly) -> None:
    results = [finish(process) for process in [old.start("migrate") for _ in range(4)]]
    assert {result.code for result in results} <= {0, 3}
    assert any(result.code == 0 for result in results)
    assert all("in use" in result.err for result in results if result.code)
    assert counts(old) == COUNTS


def test_a_damaged_one_stays_as_it_was(old: Orderly) -> None:
    with closing(sqlite3.connect(old.ledger)) as connection:
        connection.execute("ALTER TABLE outcomes ADD COLUMN reference")  # somebody's own
        connection.commit()
    before = shutil.copy(old.ledger, old.folder / "before.db")
    said = old("migrate")
    assert_one_line(said, 3, "sqlite:///var/orderly.db")
    with closing(sqlite3.connect(old.ledger)) as now, closing(sqlite3.connect(before)) as then:
        assert list(now.iterdump()) == list(then.iterdump())


def test_postgresql_is_carried_over_too(
    tmp_path: Path, postgres: Postgres, redis_server: Redis
) -> None:
    """Made of a new one, since no version keeps dumps of two databases: what is new is dropped."""
    url = postgres.new_database()
    scaled = Scaled(tmp_path, ledger_url=url, redis_url=redis_server.url)
    try:
        paying = scaled.pay(1)
        scaled.produce("--orders", "40", "--seed", "7")
        scaled.until_settled(40)
        scaled.stop(paying)
        with psycopg.connect(url) as connection:
            for table, names in NEW_IN_5.items():
                for name in names:
                    connection.execute(f"ALTER TABLE {table} DROP COLUMN {name}".encode())
            connection.execute("DROP TABLE pending, resolutions")
            connection.execute("UPDATE ledger SET schema_version = 4")
        assert_one_line(scaled("status"), 3, "orderly migrate carries it over")
        assert scaled("migrate").code == 0
        scaled.produce("--orders", "10", "--seed", "8")
        paying = scaled.pay(1)
        scaled.until_settled(50)
        scaled.stop(paying)
        scaled.assert_serial()
    finally:
        scaled.close()
