"""A ledger behind PgBouncer: as good as without it, or said at once why not."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from contextlib import ExitStack
from typing import TYPE_CHECKING, NamedTuple

import psycopg
import pytest
from psycopg import sql

from tests.integration.test_postgres_settings import SETTINGS, set_up
from tests.support.orderly import SAMPLE, assert_one_line, finish
from tests.support.scaled import Scaled, result, write_orders
from tests.support.servers.pgbouncer_server import PgBouncer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.servers.postgres_server import PostgresServer
    from tests.support.servers.redis_server import Redis

FIVE = ("--orders", "5", "--seed", "2")
TRANSACTION = {"pool_mode": "transaction"}
WATCH = """
CREATE TABLE seen AS SELECT current_setting('synchronous_commit') AS setting LIMIT 0;
CREATE FUNCTION watch() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
INSERT INTO seen VALUES (current_setting('synchronous_commit')); RETURN NULL; END $$;
CREATE TRIGGER watch AFTER INSERT ON journal EXECUTE FUNCTION watch();
CREATE TRIGGER watch AFTER INSERT ON outcomes EXECUTE FUNCTION watch()
"""
IGNORING = TRANSACTION | {"ignore_startup_parameters": "options,extra_float_digits"}


class Behind(NamedTuple):
    """The services of redis mode, whose ledger is behind a pooler; tests look past it."""

    scaled: Scaled
    pooler: PgBouncer


NewBehind = Callable[..., Behind]


@pytest.fixture
def behind(
    tmp_path: Path, own_postgres: PostgresServer, redis_server: Redis
) -> Iterator[NewBehind]:
    """Makes a new ledger's database, and puts a pooler with the settings given before it."""
    with ExitStack() as servers:

        def behind(**settings: object) -> Behind:
            pooler = PgBouncer(own_postgres, **settings)
            servers.callback(pooler.close)
            database = own_postgres.new_database()
            scaled = Scaled(tmp_path, ledger_url=database, redis_url=redis_server.url)
            servers.callback(scaled.close)
            scaled.environment["LEDGER_URL"] = pooler.url_of(database)
            return Behind(scaled, pooler)

        yield behind


@pytest.mark.parametrize(
    "settings",
    [TRANSACTION, IGNORING, {"pool_mode": "session"}],
    ids=["transaction", "ignoring", "session"],
)
def test_the_sample_is_paid(behind: NewBehind, settings: dict[str, object]) -> None:
    scaled, _ = behind(**settings)
    report = scaled.json("run", SAMPLE, "--workers", "2")
    assert (report["created"], report["paid"], report["verified"]) == (2841, 1240, True)
    assert len(scaled.assert_serial().status) == 2841


def test_a_pooler_in_statement_mode_is_told_at_once(behind: NewBehind) -> None:
    scaled, _ = behind(pool_mode="statement")
    for process in [scaled.start("run", *FIVE), scaled.start("pay"), scaled.start("status")]:
        words = "allows no transactions; set its pool_mode to transaction or session"
        assert_one_line(finish(process), 3, words)


def test_a_single_connection_of_the_pool_is_enough(behind: NewBehind) -> None:
    """Two processes make the ledger at once: whoever waits for the other holds no connection."""
    scaled, _ = behind(**TRANSACTION, default_pool_size=1)
    file = write_orders(scaled.folder / "orders.jsonl", 300)
    paying = scaled.start("pay", "--workers", "2")
    report = scaled.json("run", file, "--workers", "1")
    assert (report["created"], report["verified"]) == (300, True)
    assert "worker replaced" not in scaled.stop(paying)
    assert len(scaled.assert_serial().status) == 300


def test_too_few_connections_are_told_as_such(behind: NewBehind) -> None:
    scaled, pooler = behind(**TRANSACTION, max_client_conn=1)
    with psycopg.connect(pooler.url_of(scaled.ledger_url)):
        told = scaled("migrate")
    assert_one_line(told, 3, "has too few connections", "in the pooler", "max_client_conn")


def test_what_a_transaction_sets_stays_with_it(behind: NewBehind) -> None:
    """The session is lent to others next, who have set nothing."""
    scaled, pooler = behind(**TRANSACTION, default_pool_size=1)
    assert scaled.json("run", *FIVE)["verified"]
    names = "lock_timeout", "statement_timeout", "idle_in_transaction_session_timeout"
    with psycopg.connect(pooler.url_of(scaled.ledger_url), autocommit=True) as other:
        assert [other.execute(f"SHOW {name}".encode()).fetchone() for name in names] == [("0",)] * 3


def test_commits_are_durable_whatever_is_the_default(behind: NewBehind) -> None:
    scaled, pooler = behind(**TRANSACTION)
    assert scaled("migrate").code == 0
    with scaled.connect() as connection:
        name = sql.Identifier(connection.info.dbname)
        connection.execute(sql.SQL("ALTER DATABASE {} SET synchronous_commit = off").format(name))
        connection.execute(WATCH)
    pooler.restart()
    assert scaled.json("run", *FIVE)["verified"]
    assert scaled.query("SELECT DISTINCT setting FROM seen") == [("on",)]


def test_what_the_database_has_set_changes_nothing(behind: NewBehind) -> None:
    """Among it what an order could die of, and what a proof could not end for."""
    scaled, pooler = behind(**TRANSACTION)
    assert scaled("migrate").code == 0
    set_up(scaled.ledger_url, SETTINGS["nulls"] | SETTINGS["latin"] | SETTINGS["patience"])
    pooler.restart()
    report = scaled.json("run", SAMPLE, "--workers", "1", "--prove")
    assert (report["created"], report["paid"], report["verified"]) == (2841, 1240, True)


def test_the_options_of_the_url_count_or_are_refused(behind: NewBehind) -> None:
    scaled, _ = behind(**IGNORING)
    with scaled.connect() as connection:
        connection.execute("CREATE SCHEMA pay")
    options = "?options=-csearch_path%3Dpay"
    report = scaled.json("run", *FIVE, LEDGER_URL=scaled.environment["LEDGER_URL"] + options)
    assert report["created"] == 5
    assert scaled.query("SELECT count(*) FROM pay.journal") != []

    strict, _ = behind(**TRANSACTION)
    refused = strict("run", *FIVE, LEDGER_URL=strict.environment["LEDGER_URL"] + options)
    assert_one_line(refused, 3, "does not take the options", "unsupported startup parameter")


def test_a_ledger_is_not_set_aside_through_it(behind: NewBehind) -> None:
    scaled, _ = behind(**TRANSACTION)
    scaled.produce(*FIVE)
    refused = scaled("run", "--fresh", "--yes")
    assert_one_line(refused, 3, "is behind a pooler", "name the server itself in LEDGER_URL")
    assert scaled.totals()["created"] == 5


def test_it_goes_and_comes_back_in_mid_run(behind: NewBehind) -> None:
    scaled, pooler = behind(**TRANSACTION)
    file = write_orders(scaled.folder / "orders.jsonl", 900)
    lines = file.read_text().splitlines(keepends=True)
    running = scaled.start("run", "-", "--workers", "2", "--json", stdin=subprocess.PIPE)
    assert running.stdin is not None
    for part in range(3):
        running.stdin.write("".join(lines[part::3]))
        running.stdin.flush()
        scaled.until_settled(part * 300 + 1)
        if part < 2:
            pooler.restart()
    report = result(running)
    assert (report["created"], report["verified"]) == (900, True)
    assert len(scaled.assert_serial().status) == 900
