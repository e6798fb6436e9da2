"""Fixtures that most tests share."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest

from shared.environment import load_settings
from shared.ledger.database import postgres_session
from shared.ledger.ledger import Ledger, open_ledger
from tests.support.orderly import Orderly
from tests.support.scaled import Scaled
from tests.support.server import Server
from tests.support.servers.environment import given_postgres, given_redis
from tests.support.servers.postgres_server import GivenPostgres, PostgresServer
from tests.support.servers.redis_server import GivenRedis, RedisServer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.support.servers.postgres_server import Postgres
    from tests.support.servers.redis_server import Redis

    NewRedis = Callable[..., RedisServer]
    NewLedger = Callable[..., Ledger]

_LONG = "what takes long (make test-long)"
_ELSEWHERE = (
    "the page (make test-page)",
    "beside other programs (make test-system)",
    "in containers (make test-e2e)",
)


def pytest_unconfigure(config: pytest.Config) -> None:
    """Say which tests were not run, where nobody has named those that were."""
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    wanted = {"": (), "not long": (_LONG,)}.get(config.option.markexpr)
    is_all = config.args_source is pytest.Config.ArgsSource.TESTPATHS
    if reporter and is_all and wanted is not None:
        reporter.write_line(f"not among these: {', '.join([*wanted, *_ELSEWHERE])}")


@pytest.fixture
def orderly(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Orderly]:
    """The command, with a ledger of this test's own."""
    command = Orderly(tmp_path, anew=request.node.get_closest_marker("anew") is not None)
    yield command
    command.close()


@pytest.fixture
def server(orderly: Orderly) -> Iterator[Server]:
    """A service that is not started yet: `orderly.environment` may still be changed."""
    service = Server(orderly)
    yield service
    service.close()


@pytest.fixture(scope="session")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A running service that tests share; at the end it equals the replay."""
    orderly = Orderly(tmp_path_factory.mktemp("shop"))
    service = Server(orderly)
    try:
        yield service.start()
        assert service.stop().code == 0, service.said
        orderly.assert_serial()
    finally:
        service.close()
        orderly.close()


@pytest.fixture
def nothing_accepted(shop: Server) -> Iterator[None]:
    """Whatever the test sends, none of it becomes an order."""
    before = shop.orderly.accepted()
    yield
    assert shop.orderly.accepted() == before


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A PostgreSQL server for databases of the tests' own: the given one, else ours."""
    given = given_postgres()
    server = GivenPostgres(given) if given else PostgresServer()
    yield server
    server.close()


@pytest.fixture(scope="session")
def redis_server() -> Iterator[Redis]:
    """A Redis server for keys of the tests' own: the given one, else ours. Never empty it."""
    given = given_redis()
    server = GivenRedis(given) if given else RedisServer()
    yield server
    server.close()


@pytest.fixture
def scaled(tmp_path: Path, postgres: Postgres, redis_server: Redis) -> Iterator[Scaled]:
    """The services of redis mode, with a ledger of this test's own on servers that all share."""
    command = Scaled(tmp_path, ledger_url=postgres.new_database(), redis_url=redis_server.url)
    yield command
    command.close()


@pytest.fixture
def own_postgres(postgres_apart: PostgresServer) -> Iterator[PostgresServer]:
    """A PostgreSQL server that the test may stop and start; nothing else uses it."""
    yield postgres_apart
    if not postgres_apart.is_running:
        postgres_apart.start()


@pytest.fixture(scope="session")
def postgres_apart() -> Iterator[PostgresServer]:
    server = PostgresServer()
    yield server
    server.close()


@pytest.fixture
def new_redis() -> Iterator[NewRedis]:
    """Starts a Redis server of the test's own, to be emptied, stopped or locked at will."""
    with ExitStack() as servers:

        def new_redis(**options: Any) -> RedisServer:
            server = RedisServer(**options)
            servers.callback(server.close)
            return server

        yield new_redis


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def new_ledger(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[NewLedger]:
    """Makes an empty ledger of each backend whenever it is called, with the settings given.

    The one before it gives its connections back: a property is tried on many ledgers.
    """
    folder = tmp_path_factory.mktemp("ledgers")
    opened: list[Ledger] = []
    is_sqlite = request.param == "sqlite"
    server = None if is_sqlite else request.getfixturevalue("postgres")
    database = server.new_database() if server else ""

    def new_url() -> str:
        if server is None:
            return f"sqlite:///{folder}/{len(opened)}.db"
        server.empty(database)
        return database

    def new_ledger(**settings: Any) -> Ledger:
        if opened:
            opened[-1].database.close()
        opened.append(open_ledger(load_settings(ledger_url=new_url(), **settings)))
        return opened[-1]

    with pytest.MonkeyPatch.context() as patch:
        # A busy machine may hold a test up for seconds in mid-transaction, as if it were frozen.
        patch.setitem(postgres_session.WRITING, "idle_in_transaction_session_timeout", "60s")
        yield new_ledger
    for ledger in opened[-1:]:
        ledger.database.close()
