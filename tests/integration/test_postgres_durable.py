"""What was acknowledged survives a crash of the server, whatever its databases and roles prefer."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

import psycopg
import pytest

from tests.support.orderly import told_by
from tests.support.servers.postgres_server import PostgresServer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.orderly import Orderly
    from tests.support.scaled import Scaled

FIVE = ("--orders", "5", "--workers", "1", "--json")
PREFERENCES = (
    "ALTER DATABASE {name} SET synchronous_commit = off",
    "ALTER ROLE postgres IN DATABASE {name} SET synchronous_commit = off",
    "ALTER SYSTEM SET synchronous_commit = off",
)


def execute(url: str, statement: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(statement.encode())


@pytest.fixture
def lazy(own_postgres: PostgresServer) -> Iterator[PostgresServer]:
    """A server that writes out asynchronous commits after ten seconds, and not in a moment."""
    execute(own_postgres.url, "ALTER SYSTEM SET wal_writer_delay = '10s'")
    own_postgres.restart()
    yield own_postgres
    if not own_postgres.is_running:
        own_postgres.start()
    execute(own_postgres.url, "ALTER SYSTEM RESET ALL")
    own_postgres.restart()


@pytest.mark.long
def test_nothing_that_was_acknowledged_is_lost_with_the_server(
    on_own_postgres: Scaled, lazy: PostgresServer
) -> None:
    scaled = on_own_postgres
    assert scaled("migrate").code == 0
    ((name,),) = scaled.query("SELECT current_database()")
    for number, preference in enumerate(PREFERENCES, start=1):
        execute(scaled.ledger_url, preference.format(name=name))
        execute(scaled.ledger_url, "SELECT pg_reload_conf()")
        report = scaled.produce("--orders", "5", "--seed", str(number))
        assert report["created"] == 5
        lazy.restart(kill=True)
        assert scaled.totals()["created"] == 5 * number, preference


@pytest.mark.long
def test_a_setting_that_changes_meanwhile_changes_nothing(
    on_own_postgres: Scaled, lazy: PostgresServer
) -> None:
    """Sessions that are there follow the server's file, unless they were told otherwise."""
    scaled = on_own_postgres
    producing = scaled.start("produce", "-", "--json", stdin=-1)
    lines = scaled("generate", "10", "--seed", "1").out.splitlines(keepends=True)
    assert producing.stdin is not None
    producing.stdin.writelines(lines[:5])
    producing.stdin.flush()
    scaled.until_accepted(5)
    execute(scaled.ledger_url, "ALTER SYSTEM SET synchronous_commit = off")
    execute(scaled.ledger_url, "SELECT pg_reload_conf()")
    producing.stdin.writelines(lines[5:])
    producing.stdin.flush()
    scaled.until_accepted(10)
    lazy.restart(kill=True)
    assert scaled.totals()["created"] == 10
    producing.communicate(timeout=60)


@pytest.mark.long
def test_a_server_that_syncs_nothing_is_warned_of_once(
    orderly: Orderly, own_postgres: PostgresServer
) -> None:
    orderly.environment["LEDGER_URL"] = own_postgres.new_database()
    warned = orderly("run", *FIVE)
    (line,) = [line for line in warned.err.splitlines() if "power cut" in line]
    assert line not in told_by(warned.err)
    assert '"settings": "fsync=off, full_page_writes=off"' in line
    assert (reading := orderly("status")).err == "", reading
    with closing(PostgresServer(is_durable=True)) as careful:
        orderly.environment["LEDGER_URL"] = careful.new_database()
        assert "power cut" not in orderly("run", *FIVE).err
