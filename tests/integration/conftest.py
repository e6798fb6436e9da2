"""A service that several modules share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.orderly import Orderly
from tests.server import TOKEN, Server

if TYPE_CHECKING:
    from collections.abc import Iterator


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
