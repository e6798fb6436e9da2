"""Fixtures of the tests that run over every backend."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.queues import (
    Backend,
    LocalBackend,
    Process,
    promptly,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.queues import Role


@pytest.fixture(params=[LocalBackend])
def backend(request: pytest.FixtureRequest) -> Iterator[Backend]:
    made: Backend = request.param()
    yield made
    with promptly():
        made.queue.close()


@pytest.fixture
def start(backend: Backend) -> Iterator[Callable[[int, Role], Process]]:
    """Start consumers; whatever is left of them is killed at the end."""
    started: list[Process] = []

    def start(worker: int, role: Role) -> Process:
        started.append(Process(backend, worker, role))
        return started[-1]

    yield start
    for process in started:
        process.close()
