"""Fixtures of the tests that run over every backend."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from examples import own_queue
from shared.queue import redis_queue
from tests.support.queues import LEDGER, WORKERS, Backend, LocalBackend, Process, promptly
from tests.support.rq_consumer import RedisBackend

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.support.queues import Role
    from tests.support.servers.redis_server import Redis

    Start = Callable[[int, Role], Process]


@pytest.fixture
def local() -> Iterator[LocalBackend]:
    """The queue of local mode."""
    made = LocalBackend()
    yield made
    with promptly():
        made.close()


@pytest.fixture
def remote(redis_server: Redis, monkeypatch: pytest.MonkeyPatch) -> Iterator[RedisBackend]:
    """The queue of redis mode."""
    # On a busy machine a test may take longer than a message that is lost should be waited for.
    monkeypatch.setattr(redis_queue, "_ON_ITS_WAY_SECONDS", 60.0)
    made = RedisBackend(redis_server.url)
    yield made
    with promptly():
        made.close()


class OwnBackend:
    """The queue of the examples, one of anybody's own: a folder for each worker."""

    room = own_queue.CAPACITY
    is_forgetful = True
    places = WORKERS

    def __init__(self) -> None:
        self.queue = own_queue.FolderQueue(LEDGER, WORKERS)
        self.consumer = self.queue.renew
        self.close = self.queue.close


@pytest.fixture
def own() -> Iterator[OwnBackend]:
    """The queue of the examples."""
    made = OwnBackend()
    yield made
    with promptly():
        made.close()


@pytest.fixture(params=["local", "remote", "own"], ids=["local", "redis", "own"])
def backend(request: pytest.FixtureRequest) -> Backend:
    """Each of them in turn."""
    made: Backend = request.getfixturevalue(request.param)
    return made


@pytest.fixture
def start(request: pytest.FixtureRequest) -> Iterator[Start]:
    """Start consumers of the test's backend; whatever is left of them is killed at the end."""
    names = {"backend", "local", "remote"} & set(request.fixturenames)
    backend: Backend = request.getfixturevalue(min(names))
    started: list[Process] = []

    def start(worker: int, role: Role) -> Process:
        started.append(Process(backend.consumer(worker), role))
        return started[-1]

    yield start
    for process in started:
        process.close()
