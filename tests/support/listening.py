"""Listening to a service's events, as tests do."""

from __future__ import annotations

import json
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.server import Server

Snapshot = dict[str, Any]


@contextmanager
def listening(server: Server) -> Iterator[Iterator[Snapshot]]:
    """Yield the snapshots as they come, to the stream's end."""
    with server.client.stream("GET", "/events") as response:
        assert response.status_code == 200
        assert response.headers["content-type"].startswith("text/event-stream")
        yield (
            json.loads(line.removeprefix("data: "))
            for line in response.iter_lines()
            if line.startswith("data: ")
        )


def snapshot(server: Server) -> Snapshot:
    """The present snapshot."""
    with listening(server) as snapshots:
        return next(snapshots)
