"""Fixtures that most tests share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from shared.ledger.opening import Ledger, open_ledger
from shared.settings import load_settings
from tests.orderly import Orderly
from tests.postgres import Postgres
from tests.server import Server

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    NewLedger = Callable[..., Ledger]


@pytest.fixture
def orderly(tmp_path: Path) -> Iterator[Orderly]:
    """The command, with a ledger of this test's own."""
    command = Orderly(tmp_path)
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
    """A running service that tests share; at the end its books equal the replay."""
    orderly = Orderly(tmp_path_factory.mktemp("shop"))
    service = Server(orderly)
    try:
        yield service.start()
        assert service.stop().code == 0, service.said
        orderly.assert_serial()
    finally:
        service.close()
        orderly.close()


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A PostgreSQL server, for all tests of this process."""
    server = Postgres()
    yield server
    server.close()


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

    yield new_ledger
    for ledger in opened[-1:]:
        ledger.database.close()
