"""Stacks of containers that tests share. Without an engine they fail, and say what to install."""

from __future__ import annotations

import signal
import subprocess
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.orderly import ROOT
from tests.support.stack import Stack, clean_environment, free_port

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from tests.support.server import Server

    NewStack = Callable[..., AbstractContextManager[Stack]]

TEST_SECONDS = 240


def pytest_configure() -> None:
    """Take a SIGTERM like a Ctrl-C: fixtures take their containers down."""

    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, interrupt)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let a test that takes too long fail in a way that lets its containers be taken down."""
    for item in items:
        item.add_marker(pytest.mark.timeout(TEST_SECONDS, method="signal"))


@pytest.fixture(scope="session", autouse=True)
def engine() -> None:
    """There is an engine, with all that the stack needs."""
    environment = clean_environment() | {"HTTP_PORT": str(free_port())}
    command = ["make", "-s", "doctor"]
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        pytest.fail(f"{done.stdout}{done.stderr}", pytrace=False)


@contextmanager
def running(mode: str, **environment: str) -> Iterator[Stack]:
    """A stack that `make up` has started; nothing is left of it afterwards, whatever happens."""
    stack = Stack(mode, **environment)
    try:
        stack.up()
        yield stack
    finally:
        stack.close()


@pytest.fixture(scope="session")
def new_stack() -> NewStack:
    """Starts another stack: `with new_stack("local", API_TOKEN="...") as stack`."""
    return running


@pytest.fixture(scope="session")
def local_stack() -> Iterator[Stack]:
    """The single container; at the end it equals the replay."""
    with running("local") as stack:
        yield stack
        stack.orderly.assert_serial()


@pytest.fixture(scope="session")
def redis_stack() -> Iterator[Stack]:
    """The scaled-out stack; at the end it equals the replay."""
    with running("redis") as stack:
        yield stack
        stack.orderly.assert_serial()


@pytest.fixture(scope="session", params=["local", "redis"])
def stack(request: pytest.FixtureRequest) -> Stack:
    """Either of them."""
    found: Stack = request.getfixturevalue(f"{request.param}_stack")
    return found


@pytest.fixture(scope="session")
def shop(redis_stack: Stack) -> Server:
    """The HTTP service of the scaled-out stack, for tests that were written for a process."""
    return redis_stack.shop


@pytest.fixture(scope="session")
def any_shop(shop: Server) -> Server:
    """The same one."""
    return shop


@pytest.fixture
def owner(request: pytest.FixtureRequest) -> Stack:
    """The stack of the mode that a test names together with one of its services."""
    found: Stack = request.getfixturevalue(f"{request.param}_stack")
    return found
