"""Whatever a role or a database of PostgreSQL has set, orders fare as they should."""

from __future__ import annotations

from typing import TYPE_CHECKING

import psycopg
import pytest
from psycopg import sql
from sqlalchemy.engine import make_url

from tests.support.inputs import line
from tests.support.orderly import assert_one_line, finish, told_by

if TYPE_CHECKING:
    from tests.support.orderly import Orderly
    from tests.support.servers.postgres_server import PostgresServer

CHOOSY = """
from services.payment.gateway import PAID, Declined

class Choosy:
    def charge(self, charge):
        return Declined("kein Geld \\u2639") if charge.order.order_id[-1] == "1" else PAID
"""
TEA = [{"sku": "Tee ☕", "quantity": 1, "unit_price": 150}]
ORDERS = "".join(line(f"o-{number}", items=TEA) for number in range(20)).encode()

# What is set, by what it could change: how values are read and shown, how statements are, what a
# transaction is, when it is ended, and how it is carried out.
SETTINGS = {
    "nulls": {"array_nulls": "off"},
    "values": {
        "bytea_output": "escape",
        "datestyle": "SQL, DMY",
        "extra_float_digits": "-15",
        "intervalstyle": "iso_8601",
        "timezone": "Asia/Kathmandu",
        "xmlbinary": "hex",
    },
    "statements": {
        "backslash_quote": "off",
        "escape_string_warning": "off",
        "quote_all_identifiers": "on",
        "standard_conforming_strings": "off",
        "transform_null_equals": "on",
    },
    "latin": {"client_encoding": "LATIN1"},
    "ascii": {"client_encoding": "SQL_ASCII"},
    "transactions": {
        "default_transaction_deferrable": "on",
        "default_transaction_isolation": "serializable",
        "row_security": "off",
        "session_replication_role": "replica",
        "synchronous_commit": "off",
    },
    "patience": {
        "idle_in_transaction_session_timeout": "1ms",
        "idle_session_timeout": "1ms",
        "lock_timeout": "1ms",
        "statement_timeout": "100ms",
        "transaction_timeout": "100ms",
    },
    "ways": {
        "client_min_messages": "debug5",
        "enable_indexscan": "off",
        "exit_on_error": "on",
        "jit_above_cost": "0",
        "lc_messages": "C",
        "plan_cache_mode": "force_generic_plan",
    },
}


def set_up(url: str, settings: dict[str, str]) -> None:
    """Have every session with a database begin with these, as far as its server knows them."""
    with psycopg.connect(url, autocommit=True) as connection:
        name = sql.Identifier(connection.info.dbname)
        known = {str(row[0]).lower() for row in connection.execute("SELECT name FROM pg_settings")}
        for setting in settings.keys() & known:
            change = sql.SQL("ALTER DATABASE {} SET {} = {}")
            value = sql.SQL(settings[setting]) if "," in settings[setting] else settings[setting]
            connection.execute(change.format(name, sql.Identifier(setting), value))


@pytest.fixture
def choosy(orderly: Orderly, own_postgres: PostgresServer) -> Orderly:
    """A command whose gateway declines some orders, with a reason beyond ASCII and Latin."""
    (orderly.folder / "choosy.py").write_text(CHOOSY)
    orderly.environment |= {
        "LEDGER_URL": own_postgres.new_database(),
        "PAYMENT_GATEWAY": "choosy:Choosy",
    }
    return orderly


@pytest.mark.long
@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
def test_no_order_dies_of_a_setting(choosy: Orderly, settings: dict[str, str]) -> None:
    set_up(choosy.environment["LEDGER_URL"], settings)
    report = choosy.json("run", "-", "--workers", "1", "--prove", stdin=ORDERS)
    assert (report["paid"], report["declined"], report["dead"]) == (18, 2, 0)
    assert report["verified"] is True
    assert choosy.json("verify")["ok"] is True
    story = choosy.json("explain", "o-11")
    assert "kein Geld ☹" in str(story)
    assert choosy("journal").out.count("Tee ☕") == 20


@pytest.mark.parametrize("encoding", ["LATIN1", "SQL_ASCII"])
def test_a_database_that_cannot_hold_every_text_is_refused_at_the_start(
    choosy: Orderly, own_postgres: PostgresServer, encoding: str
) -> None:
    name = f"in_{encoding}".lower()
    with psycopg.connect(own_postgres.url, autocommit=True) as connection:
        change = "CREATE DATABASE {} ENCODING {} TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C'"
        connection.execute(sql.SQL(change).format(sql.Identifier(name), encoding))
    url = make_url(own_postgres.url).set(database=name)
    choosy.environment["LEDGER_URL"] = url.render_as_string(hide_password=False)
    commands = ("run",), ("run", "--fresh", "--yes"), ("serve", "--port", "0"), ("status",)
    started = [choosy.start(*command) for command in commands]
    for process in started:
        told = f"(its encoding is {encoding})"
        assert_one_line(finish(process), 3, told, "ENCODING 'UTF8' TEMPLATE template0")


def test_a_run_whose_proof_the_server_refuses_reports_what_it_settled(
    choosy: Orderly,
) -> None:
    """Its user may take orders in and pay them, but not read all of the transfers."""
    url = choosy.environment["LEDGER_URL"]
    assert choosy.json("run", "-", "--workers", "1", stdin=ORDERS)["verified"] is True
    with psycopg.connect(url, autocommit=True) as owner:
        owner.execute("CREATE ROLE reader LOGIN")
        owner.execute("GRANT ALL ON ALL TABLES IN SCHEMA public TO reader")
        owner.execute("REVOKE ALL ON transfers FROM reader")
        owner.execute("GRANT SELECT (transfer_id) ON transfers TO reader")
    choosy.environment |= {
        "LEDGER_URL": url.replace("postgres@", "reader@"),
        "GATEWAY_FAULTS": "permanent=1",
    }
    orders = "".join(line(f"p-{number}") for number in range(5)).encode()
    try:
        result = choosy("run", "-", "--workers", "1", "--prove", "--json", stdin=orders)
    finally:
        with psycopg.connect(url, autocommit=True) as owner:
            owner.execute("DROP OWNED BY reader")
            owner.execute("DROP ROLE reader")
    assert (result.json["dead"], result.json["open"], result.json["verified"]) == (5, 0, False)
    assert "does not allow this user to do that" in told_by(result.err)[-1]
    assert result.code == 3


@pytest.mark.long
def test_a_proof_may_take_longer_than_the_role_has_for_statements(choosy: Orderly) -> None:
    """Which says nothing of how long it takes to prove a ledger."""
    url = choosy.environment["LEDGER_URL"]
    assert choosy.json("run", "-", "--workers", "1", stdin=ORDERS)["verified"] is True
    with psycopg.connect(url) as connection:
        connection.execute("ALTER TABLE transfers RENAME TO moved")
        connection.execute(
            "CREATE VIEW transfers AS SELECT moved.* FROM moved, (SELECT pg_sleep(1)) AS slowly"
        )
    set_up(url, {"statement_timeout": "500ms", "transaction_timeout": "500ms"})
    assert choosy.json("verify")["ok"] is True
