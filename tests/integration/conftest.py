"""What several modules share: a service, and redis mode."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.bank import Bank
from tests.support.faulty import FAULTS, faulty_service
from tests.support.orderly import Orderly
from tests.support.scaled import Scaled
from tests.support.server import TOKEN, Server

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.conftest import NewRedis
    from tests.support.servers.postgres_server import Postgres, PostgresServer
    from tests.support.servers.redis_server import Redis, RedisServer


@pytest.fixture(scope="session")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A service that asks for a token, and goes by two more names."""
    orderly = Orderly(
        tmp_path_factory.mktemp("token"),
        {
            "API_TOKEN": TOKEN,
            "PAYMENT_WORKERS": "1",
            "HTTP_ALLOWED_HOSTS": "shop.example.com, Other.example., [fd00::1]",
        },
    )
    service = Server(orderly)
    try:
        yield service.start()
        assert service.stop().code == 0
    finally:
        service.close()
        orderly.close()


@pytest.fixture(scope="session")
def scaled_shop(
    tmp_path_factory: pytest.TempPathFactory, postgres: Postgres, redis_server: Redis
) -> Iterator[Server]:
    """``shop`` in redis mode: a service that takes orders in, and another that pays them."""
    folder, database = tmp_path_factory.mktemp("scaled-shop"), postgres.new_database()
    scaled = Scaled(folder, ledger_url=database, redis_url=redis_server.url)
    service = Server(scaled)
    try:
        paying = scaled.pay(1)
        yield service.start()
        service.settle()
        assert service.stop().code == 0, service.said
        scaled.stop(paying)
        scaled.assert_serial()
    finally:
        service.close()
        scaled.close()


@pytest.fixture(params=["shop", "scaled_shop"], ids=["local", "redis"])
def any_shop(request: pytest.FixtureRequest) -> Server:
    """A running service that tests share, of each mode: for what the mode could change."""
    service: Server = request.getfixturevalue(request.param)
    return service


@pytest.fixture(scope="session", params=["local", "redis"])
def faulty(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    """A service with orders of every status, whose gateway fails now and then, in each mode."""
    folder = tmp_path_factory.mktemp("dead")
    orderly = Orderly(folder, FAULTS)
    if request.param == "redis":
        database: Postgres = request.getfixturevalue("postgres")
        queue: Redis = request.getfixturevalue("redis_server")
        url = database.new_database()
        orderly = Scaled(folder, FAULTS, ledger_url=url, redis_url=queue.url)
        orderly.start("pay")
    with faulty_service(orderly) as service:
        yield service


@pytest.fixture(params=["server", "scaled_server"], ids=["local", "redis"])
def any_server(request: pytest.FixtureRequest) -> Server:
    """A service of each mode that is not started yet."""
    service: Server = request.getfixturevalue(request.param)
    return service


@pytest.fixture
def scaled_server(scaled: Scaled) -> Iterator[Server]:
    """A service in redis mode that is not started yet; nobody pays."""
    service = Server(scaled)
    yield service
    service.close()


@pytest.fixture
def own_redis(new_redis: NewRedis) -> RedisServer:
    """A Redis server that the test may stop, fill and empty."""
    return new_redis()


@pytest.fixture
def on_own_redis(tmp_path: Path, postgres: Postgres, own_redis: RedisServer) -> Iterator[Scaled]:
    """The services of redis mode, around a Redis server of the test's own."""
    yield from _scaled(tmp_path, postgres, own_redis)


@pytest.fixture
def on_own_postgres(
    tmp_path: Path, own_postgres: PostgresServer, redis_server: Redis
) -> Iterator[Scaled]:
    """The services of redis mode, around a PostgreSQL server of the test's own."""
    yield from _scaled(tmp_path, own_postgres, redis_server)


def _scaled(folder: Path, postgres: Postgres, server: Redis) -> Iterator[Scaled]:
    command = Scaled(folder, ledger_url=postgres.new_database(), redis_url=server.url)
    yield command
    command.close()


@pytest.fixture(params=["orderly", "scaled"], ids=["local", "redis"])
def either(request: pytest.FixtureRequest) -> Orderly:
    """The command in each mode."""
    command: Orderly = request.getfixturevalue(request.param)
    return command


@pytest.fixture
def bank(orderly: Orderly) -> Iterator[Bank]:
    """A payment backend that is not started yet; its environment may still be changed."""
    service = Bank(orderly)
    yield service
    service.close()


@pytest.fixture(scope="session")
def shared_bank(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bank]:
    """A running bank that tests share, without faults; each has a ledger of its own there."""
    orderly = Orderly(tmp_path_factory.mktemp("bank"))
    service = Bank(orderly)
    try:
        service.start()
        yield service
        assert service.stop().code == 0, service.said
        assert {each["message"] for each in service.logs} <= {"Invalid HTTP request received."}
    finally:
        service.close()
        orderly.close()
