"""What several modules share: a service, and redis mode."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.orderly import Orderly
from tests.scaled import Scaled
from tests.server import TOKEN, Server

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.conftest import NewRedis
    from tests.servers.postgres_server import Postgres, PostgresServer
    from tests.servers.redis_server import Redis, RedisServer


@pytest.fixture(scope="session")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A service that asks for a token, and goes by two more names."""
    orderly = Orderly(
        tmp_path_factory.mktemp("guarded"),
        {
            "API_TOKEN": TOKEN,
            "PAYMENT_WORKERS": "1",
            "HTTP_ALLOWED_HOSTS": "shop.example.com, Other.example",
        },
    )
    service = Server(orderly)
    try:
        yield service.start()
        assert service.stop().code == 0
    finally:
        service.close()
        orderly.close()


@pytest.fixture
def scaled(tmp_path: Path, postgres: Postgres, redis_server: Redis) -> Iterator[Scaled]:
    """The services of redis mode, with a ledger of this test's own on servers that all share."""
    yield from _scaled(tmp_path, postgres, redis_server)


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
