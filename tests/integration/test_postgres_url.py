"""What LEDGER_URL says about a PostgreSQL server counts, and what cannot be had is told."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

import psycopg
import pytest
from psycopg import sql

from shared.environment import load_settings
from shared.ledger.ledger import why_closed
from tests.support.orderly import Orderly, assert_one_line, finish
from tests.support.servers.daemon import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.servers.postgres_server import PostgresServer

TWENTY = ("--orders", "20", "--seed", "1", "--workers", "1", "--json")
TABLES = 14
WORD = "ge@he/im#: %"


def execute(url: str, *statements: str | sql.Composed) -> list[tuple[object, ...]]:
    with psycopg.connect(url) as connection:
        for statement in statements:
            words = statement.encode() if isinstance(statement, str) else statement
            done = connection.execute(words)
        return done.fetchall() if done.description else []


def schemas(url: str) -> dict[str, int]:
    """Count the tables of every schema that has any; a ledger set aside is 'aside'."""
    rows = execute(
        url,
        "SELECT regexp_replace(schemaname, '^aside_.*', 'aside'), count(*) FROM pg_tables"
        " WHERE schemaname !~ '^(pg_|information)' GROUP BY 1",
    )
    return {str(name): int(str(count)) for name, count in rows}


def name_of(url: str) -> str:
    return str(execute(url, "SELECT current_database()")[0][0])


@pytest.fixture
def database(own_postgres: PostgresServer) -> str:
    return own_postgres.new_database()


@pytest.fixture
def word(own_postgres: PostgresServer) -> Iterator[str]:
    """A password of the server's user that nobody escaped."""
    execute(own_postgres.url, f"ALTER ROLE postgres PASSWORD '{WORD}'")
    yield WORD
    execute(own_postgres.url, f"ALTER ROLE postgres PASSWORD '{own_postgres.password}'")


@pytest.fixture
def unencrypted(own_postgres: PostgresServer) -> Iterator[str]:
    """The name of a database that lets nobody in without TLS."""
    url = own_postgres.new_database()
    name = name_of(url)
    rules = Path(str(execute(url, "SHOW hba_file")[0][0]))
    before = rules.read_text()
    rules.write_text(f"hostnossl {name} all 127.0.0.1/32 reject\n{before}")
    execute(url, "SELECT pg_reload_conf()")
    yield name
    rules.write_text(before)
    execute(url, "SELECT pg_reload_conf()")


def on(orderly: Orderly, url: str) -> Orderly:
    orderly.environment["LEDGER_URL"] = url
    return orderly


@pytest.mark.long
@pytest.mark.parametrize("schema", ["pay", 'Pay "day" o\'clock'])
@pytest.mark.parametrize("given", ["by the URL", "to the database"])
def test_a_ledger_is_where_the_search_path_says_and_only_its_tables_are_set_aside(
    orderly: Orderly, database: str, schema: str, given: str
) -> None:
    name = sql.Identifier(schema)
    execute(
        database,
        sql.SQL("CREATE SCHEMA {}").format(name),
        sql.SQL("CREATE TABLE {}.customers (id int)").format(name),
    )
    if given == "by the URL":
        path = name.as_string().replace(" ", "\\ ")
        url = f"{database}&options={quote(f'-csearch_path={path}')}"
    else:
        url = database
        change = sql.SQL("ALTER DATABASE {} SET search_path = {}")
        execute(database, change.format(sql.Identifier(name_of(database)), name))
    command = on(orderly, url)
    assert command("run", *TWENTY).json["created"] == 20
    assert schemas(database) == {schema: TABLES + 1}
    assert command("run", *TWENTY, "--fresh", "--yes").json["created"] == 20
    assert schemas(database) == {"aside": TABLES, schema: TABLES + 1}


@pytest.mark.long
def test_a_ledger_in_a_later_schema_of_the_path_is_the_ledger(
    orderly: Orderly, database: str
) -> None:
    assert on(orderly, database)("run", *TWENTY).json["created"] == 20
    execute(database, "CREATE SCHEMA first", "CREATE TABLE first.customers (id int)")
    command = on(orderly, f"{database}&options=-csearch_path%3Dfirst,public")
    assert command.json("status")["created"] == 20
    assert command("run", *TWENTY, "--fresh", "--yes").json["created"] == 20
    assert schemas(database) == {"aside": TABLES, "first": TABLES + 1}


@pytest.mark.parametrize("table", ["ledger", "transfers"])
def test_a_table_of_others_with_a_name_of_ours_is_named_and_left(
    orderly: Orderly, database: str, table: str
) -> None:
    execute(database, f"CREATE TABLE {table} (id int)", "CREATE TABLE diary (day date)")
    for fresh in ((), ("--fresh", "--yes")):
        refused = on(orderly, database)("run", *TWENTY, *fresh)
        assert_one_line(refused, 3, "schema public", f"a name of the ledger's: {table}", "another")
    assert schemas(database) == {"public": 2}


def test_a_table_of_others_elsewhere_on_the_path_is_not_in_the_way(
    orderly: Orderly, database: str
) -> None:
    execute(
        database, "CREATE SCHEMA pay", "CREATE TABLE ledger (id int)", "CREATE TABLE heads (id int)"
    )
    url = f"{database}&options=-csearch_path%3Dpay,public"
    assert on(orderly, url)("run", *TWENTY).json["verified"]
    assert schemas(database) == {"pay": TABLES, "public": 2}


@pytest.mark.long
def test_every_way_of_naming_a_server_leads_to_it(
    orderly: Orderly, own_postgres: PostgresServer, database: str, tmp_path: Path, word: str
) -> None:
    assert on(orderly, database)("run", *TWENTY).json["created"] == 20
    name, port = name_of(database), own_postgres.port
    (tmp_path / "services").write_text(
        f"[pay]\nhost=127.0.0.1\nport={port}\nuser=postgres\ndbname={name}\npassword={word}\n"
    )
    (tmp_path / "pass").write_text("*:*:*:*:" + word.replace(":", r"\:") + "\n")
    (tmp_path / "pass").chmod(0o600)
    escaped, folder = quote(word, safe=""), quote(str(own_postgres.folder))
    user, lost = f"postgres:{escaped}", free_port()
    urls = [
        f"postgres://{user}@127.0.0.1:{port}/{name}",
        f"PostgreSQL+psycopg://{user}@127.0.0.1:{port}/{name}?sslmode=prefer",
        f"postgresql://postgres:{word}@127.0.0.1:{port}/{name}",
        f"postgresql://{user}@127.0.0.1:{lost},127.0.0.1:{port}/{name}",
        f"postgresql://{user}@/{name}?host=127.0.0.1:{lost}&host=127.0.0.1:{port}",
        f"postgresql:///{name}?host={folder}&port={port}&user=postgres",
        f"postgresql://postgres@127.0.0.1:{port}/{name}?passfile={tmp_path}/pass",
        f"postgresql://127.0.0.1:{port}/{name}?user=postgres&password={escaped}",
        "postgresql://?service=pay",
    ]
    service = {"PGSERVICEFILE": f"{tmp_path}/services"}
    started = [
        Orderly(tmp_path, service | {"LEDGER_URL": url}, started=orderly.started).start("status")
        for url in urls
    ]
    for process, url in zip(started, urls, strict=True):
        result = finish(process)
        assert result.code == 0, (url, result)
        assert "im#" not in result.out
        assert escaped not in result.out


def test_what_cannot_be_had_by_a_url_is_told_in_the_words_of_the_driver(
    orderly: Orderly, own_postgres: PostgresServer, database: str, word: str, unencrypted: str
) -> None:
    address, name = f"127.0.0.1:{own_postgres.port}", name_of(database)
    cases = [
        (f"{name}?sslmode=require", 3, "offers no TLS.*server does not support SSL"),
        (unencrypted, 3, "without TLS; say sslmode=require.*no encryption"),
        (f"{name}?colour=blue", 2, 'invalid URI query parameter: "colour"'),
        (f"{name}?password=ge&heim", 2, "its query cannot be read"),
        (f"{name}?sslmode=perhaps", 3, 'invalid sslmode value: "perhaps"'),
        (f"{name}?service=nobody", 3, 'definition of service "nobody" not found'),
        (f"{name}?options=-ccolour%3Dblue", 3, 'configuration parameter "colour"'),
        (f"{name}?options=-csearch_path%3Dnowhere", 3, "names no schema that there is"),
        ("nowhere", 3, 'has no such database.*"nowhere" does not exist'),
    ]
    started = [
        Orderly(
            orderly.folder,
            {"LEDGER_URL": f"postgres://postgres:{word}@{address}/{place}"},
            started=orderly.started,
        ).start("migrate")
        for place, _, _ in cases
    ]
    for process, (_, code, words) in zip(started, cases, strict=True):
        result = finish(process)
        assert_one_line(result, code, *words.split(".*"))
        assert not any(part in result.err for part in ("ge@", "im#", "heim"))


@pytest.mark.long
def test_too_few_connections_are_told_as_such(orderly: Orderly, database: str) -> None:
    execute(
        database,
        "CREATE ROLE clerk LOGIN CONNECTION LIMIT 0",
        "GRANT ALL ON SCHEMA public TO clerk",
    )
    url = database.replace("postgres@", "clerk@")
    told = on(orderly, url)("migrate")
    why = why_closed(load_settings(ledger_url=url))
    execute(database, "DROP OWNED BY clerk", "DROP ROLE clerk")
    assert_one_line(told, 3, "has too few connections", 'too many connections for role "clerk"')
    assert told.err == f"orderly: {why}\n"
    assert why_closed(load_settings(ledger_url=database)) is None


@pytest.mark.long
@pytest.mark.parametrize(
    ("shut", "words"),
    [
        (
            "ALTER ROLE clerk NOLOGIN",
            'does not let this user log in; ALTER ROLE ... LOGIN.*role "clerk" is not permitted',
        ),
        (
            "ALTER DATABASE {} CONNECTION LIMIT 0",
            "has too few connections.*CONNECTION LIMIT.*too many connections for database",
        ),
        (
            "ALTER DATABASE {} ALLOW_CONNECTIONS false",
            "is closed to connections; ALTER DATABASE ... ALLOW_CONNECTIONS true.*not currently",
        ),
        (
            "REVOKE CONNECT ON DATABASE {} FROM PUBLIC",
            "does not let this user in; GRANT CONNECT.*permission denied for database",
        ),
        ("UPDATE pg_database SET datconnlimit = -2 WHERE datname = '{}'", "was dropped halfway"),
    ],
    ids=["nologin", "limit", "closed", "revoked", "invalid"],
)
def test_a_door_that_is_shut_is_told_with_what_opens_it(
    orderly: Orderly, own_postgres: PostgresServer, shut: str, words: str
) -> None:
    """And not another address where there is no server, although that is tried last."""
    url = own_postgres.new_database()
    name = name_of(url)
    execute(own_postgres.url, "CREATE ROLE clerk LOGIN")
    with psycopg.connect(own_postgres.url, autocommit=True) as owner:
        owner.execute(shut.format(name).encode())
    shown = url.replace("postgres@", "clerk@") + "&host=%2Fnowhere"
    try:
        assert_one_line(on(orderly, shown)("migrate"), 3, *words.split(".*"))
    finally:
        execute(own_postgres.url, "DROP ROLE clerk")
