"""A ledger in trouble: orders wait for it to pass, and none is blamed for what is not its own."""

from __future__ import annotations

import sqlite3
import subprocess
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from tests.support.eventually import eventually
from tests.support.inputs import line, order
from tests.support.ledgers import without_id
from tests.support.lost_answers import LossyWay
from tests.support.orderly import Orderly, finish, told_by
from tests.support.scaled import Scaled, write_orders
from tests.support.server import Server, lines, problem_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.servers.postgres_server import Postgres, PostgresServer

# Of the classes 08 to XX: connection, read-only, rights, resources, locks, operator, system, bugs;
# and of class 22 what only statements can be at fault for, and not the values in them.
OUTAGES = (
    *("22007", "22012", "22023", "2200G", "22P02", "22P03"),
    *("08006", "0A000", "21000", "25006", "25P02", "28000", "40001", "40P01", "42501", "42P01"),
    *("53100", "53200", "53300", "54001", "55006", "55P03", "57014", "57P03", "58000", "58030"),
    *("F0001", "XX000", "XX001", "XX002"),
)
_STORM = """
CREATE TABLE states_to_raise (states text[]);
CREATE SEQUENCE strokes;
CREATE FUNCTION strike() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE found text[];
BEGIN
  SELECT states INTO found FROM states_to_raise;
  IF found IS NOT NULL THEN
    RAISE EXCEPTION 'made up' USING ERRCODE = found[1 + nextval('strokes') % cardinality(found)];
  END IF;
  IF NEW.order_id LIKE 'bad%' AND NEW.status <> 'dead' THEN
    RAISE EXCEPTION 'made up' USING ERRCODE = substr(NEW.order_id, 5);
  END IF;
  RETURN NEW;
END $$;
CREATE TRIGGER strike BEFORE INSERT ON outcomes FOR EACH ROW EXECUTE FUNCTION strike();
"""


@pytest.fixture
def on_postgres(tmp_path: Path, postgres: Postgres) -> Iterator[Scaled]:
    """Local mode around a ledger in PostgreSQL."""
    command = Scaled(tmp_path, ledger_url=postgres.new_database())
    command.environment |= {"QUEUE_MODE": "local", "PARTITIONS": "4"}
    yield command
    command.close()


@pytest.mark.long
def test_whatever_the_database_says_that_is_not_about_the_data_no_order_dies_of_it(
    on_postgres: Scaled,
) -> None:
    command = on_postgres
    file = write_orders(command.folder / "orders.jsonl", 300)
    texts = file.read_text().splitlines(keepends=True)
    command("migrate")
    with command.connect(autocommit=True) as connection:
        connection.execute(_STORM.encode())
        running = command.start("run", "-", "--workers", "4", "--json", stdin=subprocess.PIPE)
        assert running.stdin is not None
        running.stdin.write("".join(texts[:100]))
        running.stdin.flush()
        command.until_settled(100)
        connection.execute("INSERT INTO states_to_raise VALUES (%s)", (list(OUTAGES),))
        running.stdin.write("".join(texts[100:]))
        running.stdin.flush()
        eventually(
            lambda: command.count("SELECT last_value FROM strokes") > len(OUTAGES),
            what="all kinds of trouble",
            within=60,
        )
        assert command.count("SELECT sum(failures) FROM cursors") == 0
        assert command.settled() == 100
        connection.execute("DELETE FROM states_to_raise")
    found = finish(running)
    assert found.code == 0, found
    assert (found.json["dead"], found.json["created"]) == (0, 300)
    assert "Traceback" not in found.err
    assert len(command.assert_serial().status) == 300


@pytest.mark.long
def test_an_order_whose_own_data_the_database_refuses_is_dead_and_those_around_it_are_not(
    on_postgres: Scaled,
) -> None:
    command = on_postgres
    command("migrate")
    with command.connect(autocommit=True) as connection:
        connection.execute(_STORM.encode())
    names = ["o-1", "bad-22003", "o-2", "o-3", "bad-23514", "o-4"]
    text = "".join(line(name) for name in names).encode()
    report = command.json("run", "-", "--workers", "1", stdin=text)
    assert (report["created"], report["paid"], report["dead"]) == (6, 4, 2)
    letters = command.json("dead", "list")
    assert [letter["order_id"] for letter in letters] == ["bad-22003", "bad-23514"]
    assert all("made up" in letter["reason"] for letter in letters)


@pytest.mark.long
def test_while_the_database_is_read_only_orders_are_refused_and_then_accepted(
    on_own_postgres: Scaled, own_postgres: PostgresServer
) -> None:
    with closing(Server(on_own_postgres)) as server:
        server.start()
        assert server.place(order("before")).status_code == 202
        own_postgres.set(default_transaction_read_only="on")
        try:
            document = problem_of(server.place(order("during")), 503, "ledger-unavailable")
            assert "read-only" in document["detail"]
            (answer,) = server.bulk(lines([order("during")]))
            assert answer["code"] == 503
            assert server.status("before") == "open"
        finally:
            own_postgres.set(default_transaction_read_only="off")
        eventually(lambda: server.client.get("/readyz").status_code == 200)
        assert server.place(order("during")).status_code == 202
        assert server.stop().code == 0
    assert on_own_postgres.accepted() == 2


@pytest.mark.long
def test_a_refusal_of_the_ledger_shows_at_once_in_whether_the_service_is_ready(
    on_own_postgres: Scaled, own_postgres: PostgresServer
) -> None:
    """And until it can be written again, although whoever only reads it finds it well."""
    text = line("before").encode()
    assert on_own_postgres.json("run", "-", "--workers", "1", stdin=text)["paid"] == 1
    with closing(Server(on_own_postgres)) as server:
        server.start("--workers", "0")
        own_postgres.set(default_transaction_read_only="on")
        try:
            problem_of(server.place(order("during")), 503, "ledger-unavailable")
            for _ in range(20):
                document = problem_of(server.client.get("/readyz"), 503, "ledger-unavailable")
                assert "read-only" in document["detail"]
                assert server.place(order("before")).status_code == 200
        finally:
            own_postgres.set(default_transaction_read_only="off")
        eventually(lambda: server.client.get("/readyz").status_code == 200)
        assert server.stop().code == 0


# Each refuses a second order whose id begins like another's.
_RULES = {
    "index": ("CREATE UNIQUE INDEX house ON identities (substr(order_id, 1, 1))", "INDEX house"),
    "trigger": (
        (
            "CREATE TRIGGER house BEFORE INSERT ON identities WHEN"
            " EXISTS (SELECT 1 FROM identities) BEGIN SELECT RAISE(ABORT, 'of the house'); END"
        ),
        "TRIGGER house",
    ),
    "check": (
        "ALTER TABLE journal ADD CONSTRAINT house CHECK (first < 2 OR partition < 0)",
        "CONSTRAINT house",
    ),
    "deferred": (
        (
            "CREATE FUNCTION house() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
            " IF NEW.first > 1 THEN RAISE 'of the house' USING ERRCODE = '23514'; END IF;"
            " RETURN NULL; END $$; CREATE CONSTRAINT TRIGGER house AFTER INSERT ON journal"
            " DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION house()"
        ),
        "FUNCTION house CASCADE",
    ),
}


@pytest.mark.long
@pytest.mark.parametrize(
    ("kind", "rule"),
    [
        ("orderly", "index"),
        ("orderly", "trigger"),
        ("on_postgres", "index"),
        ("on_postgres", "check"),
        ("on_postgres", "deferred"),
    ],
)
def test_a_rule_that_somebody_added_to_the_database_is_told_as_that_and_orders_can_come_again(
    request: pytest.FixtureRequest, kind: str, rule: str
) -> None:
    command: Orderly = request.getfixturevalue(kind)
    command.environment["PARTITIONS"] = "1"
    create, name = _RULES[rule]
    assert command.json("run", "-", stdin=line("a-1").encode())["created"] == 1
    execute(command, create)
    told = command("run", "-", stdin=line("a-2").encode())
    assert told.code == 3, told
    (said,) = told_by(told.err)
    assert "refuses what belongs there; drop the constraint or trigger" in said
    assert "Traceback" not in told.err
    with closing(Server(command)) as server:
        server.start("--workers", "1")
        document = problem_of(server.place(order("a-2")), 503, "ledger-unavailable")
        assert "house" in document["detail"]
        (answer,) = server.bulk(lines([order("a-3")]))
        assert answer["code"] == 503
        table = f"ALTER TABLE journal DROP {name}" if rule == "check" else f"DROP {name}"
        execute(command, table)
        eventually(lambda: server.client.get("/readyz").status_code == 200)
        assert {server.place(order(each)).status_code for each in ("a-2", "a-3")} == {202}
        server.settle()
        assert not server.logged(level="error")
        assert server.stop().code == 0


def execute(command: Orderly, statement: str) -> None:
    """Do something to the ledger's database, beside the services."""
    if isinstance(command, Scaled):
        with command.connect(autocommit=True) as connection:
            connection.execute(statement.encode())
        return
    with closing(sqlite3.connect(command.ledger)) as file, file:
        file.execute(statement)


@pytest.mark.long
def test_where_the_answer_to_a_commit_is_lost_and_the_ledger_stays_away_nobody_is_told_no(
    on_own_postgres: Scaled, own_postgres: PostgresServer
) -> None:
    scaled = on_own_postgres
    way = LossyWay(own_postgres.over_tcp(scaled.ledger_url))
    scaled.environment["LEDGER_URL"] = way.url
    with closing(way), closing(Server(scaled)) as server, ThreadPoolExecutor(3) as senders:
        server.start()
        way.every = 1
        placed = senders.submit(server.place, order("a-1"))
        eventually(lambda: scaled.accepted() == 1, what="the commit whose answer is lost")
        minted = senders.submit(server.place, without_id())
        many = senders.submit(server.bulk, lines([order("l-1"), order("l-2")]))
        document = problem_of(placed.result(), 504, "outcome-unknown")
        assert "order a-1 may be accepted, or not" in document["detail"]
        assert placed.result().headers["location"] == "/orders/a-1"
        assert int(placed.result().headers["retry-after"]) >= 1
        # Those that came while it was away: refused before they were tried, or unknown as well.
        assert minted.result().status_code in {503, 504}
        assert {answer["code"] for answer in many.result()} <= {503, 504}
        way.every = 0
        eventually(lambda: server.client.get("/readyz").status_code == 200)
        assert server.place(order("a-1")).status_code == 200
        assert {a["code"] for a in server.bulk(lines([order("l-1"), order("l-2")]))} <= {200, 202}
        metrics = server.client.get("/metrics").text
        assert 'orderly_intake_orders_total{verdict="unknown"}' in metrics
        assert server.stop().code == 0
    found = {each[0] for each in scaled.query("SELECT order_id FROM identities")}
    assert {"a-1", "l-1", "l-2"} <= found
