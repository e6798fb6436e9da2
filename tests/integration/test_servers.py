"""The tests' own servers: they come back with their data, and they go when the tests are gone."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from tests.support.eventually import eventually
from tests.support.orderly import ROOT
from tests.support.processes import is_alive
from tests.support.servers import programs
from tests.support.servers.postgres_server import GivenPostgres, PostgresServer
from tests.support.servers.redis_server import RedisServer

if TYPE_CHECKING:
    from tests.conftest import NewRedis

_PASSWORD = 'a "word"\\ /@:'  # noqa: S105  the tests' own
_TWO_SERVERS = """
import json, sys
from tests.support.servers.postgres_server import PostgresServer
from tests.support.servers.redis_server import RedisServer
servers = PostgresServer(), RedisServer()
print(json.dumps([[str(server.folder), server.pid] for server in servers]), flush=True)
sys.stdin.read()
"""


def ask(url: str, statement: str) -> list[tuple[object, ...]]:
    with psycopg.connect(url) as connection:
        done = connection.execute(statement.encode())
        return done.fetchall() if done.description else []


def databases(url: str) -> set[object]:
    return {name for (name,) in ask(url, "SELECT datname FROM pg_database")}


@pytest.mark.long
@pytest.mark.parametrize("how", [{}, {"kill": True}], ids=["graceful", "killed"])
def test_redis_keeps_its_data_and_its_address_through_a_restart(
    new_redis: NewRedis, how: dict[str, bool]
) -> None:
    server = new_redis(password=_PASSWORD)
    with redis.Redis.from_url(server.url) as client:
        client.set("order", "paid")
        server.restart(**how)
        assert client.get("order") == b"paid"
        server.empty()
        assert client.get("order") is None


def test_redis_asks_for_the_password(new_redis: NewRedis) -> None:
    server = new_redis(password=_PASSWORD)
    bare = redis.Redis(port=server.port, retry=Retry(NoBackoff(), 0))
    with bare, pytest.raises(redis.AuthenticationError):
        bare.ping()


@pytest.mark.parametrize("how", [{}, {"kill": True}], ids=["graceful", "killed"])
def test_postgresql_keeps_its_data_and_its_addresses_through_a_restart(
    own_postgres: PostgresServer, how: dict[str, bool]
) -> None:
    database = own_postgres.new_database()
    ask(database, "CREATE TABLE orders AS SELECT 'paid' AS status")
    own_postgres.restart(**how)
    for url in (database, own_postgres.over_tcp(database)):
        assert ask(url, "SELECT status FROM orders") == [("paid",)]


def test_postgresql_asks_for_the_password_on_its_port(own_postgres: PostgresServer) -> None:
    with pytest.raises(psycopg.OperationalError, match="password"):
        ask(own_postgres.over_tcp(own_postgres.url, password=False), "SELECT 1")


def test_an_emptied_database_has_nothing_set_aside_either(own_postgres: PostgresServer) -> None:
    database = own_postgres.new_database()
    ask(database, "CREATE SCHEMA aside CREATE TABLE orders (id integer)")
    own_postgres.empty(database)
    assert ask(database, "SELECT 1 FROM pg_tables WHERE tablename = 'orders'") == []
    ask(database, "CREATE TABLE orders (id integer)")


def test_a_given_postgresql_gets_its_databases_dropped_and_keeps_its_own(
    own_postgres: PostgresServer,
) -> None:
    before = databases(own_postgres.url)
    given = GivenPostgres(own_postgres.over_tcp(own_postgres.url))
    mine = given.new_database()
    assert len(databases(own_postgres.url) - before) == 1
    with psycopg.connect(mine):
        given.close()
    assert databases(own_postgres.url) == before


def test_the_wheels_are_enough(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(programs, "POSTGRES_FOLDERS", ())
    RedisServer().close()
    server = PostgresServer()
    try:
        assert ask(server.url, "SHOW server_version") > [("16",)]
    finally:
        server.close()


@pytest.mark.long
def test_servers_end_and_leave_nothing_when_the_tests_are_killed() -> None:
    command = [sys.executable, "-c", _TWO_SERVERS]
    with subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        servers = json.loads(process.stdout.readline())
        assert all(is_alive(pid) for _, pid in servers)
        process.kill()
    folders = [Path(folder) for folder, _ in servers]
    eventually(lambda: not any(map(Path.exists, folders)), what="their folders are gone")
    assert not any(is_alive(pid) for _, pid in servers)
