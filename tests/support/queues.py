"""A queue and its consumers as the contract tests use them: every backend in the same way."""

from __future__ import annotations

import multiprocessing
import os
import secrets
import signal
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from shared.queue.local_queue import CAPACITY, LocalQueue
from shared.schema import Message, encode_batch, encode_nudge
from tests.support.eventually import eventually

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from multiprocessing.connection import Connection
    from multiprocessing.context import SpawnProcess

    from shared.queue.port import Deliveries, OrderQueue

    Role = Callable[[Deliveries, Connection], None]


LEDGER = f"ledger-{secrets.token_hex(4)}"
"""A name of this process's own: others may use the same server."""

WORKERS = 2
# What must not hang is given this long; it takes milliseconds if it does not.
PROMPTLY = 20.0


class Backend(Protocol):
    """A queue between one producer and two consumers.

    Attributes:
        room: How many messages may wait for a consumer.
        is_forgetful: Whether what waited for a consumer goes when that is replaced; else it comes
            to another one.
        places: How many consumers it takes to serve every partition.
    """

    queue: OrderQueue
    room: int
    is_forgetful: bool
    places: int

    def consumer(self, worker: int) -> Deliveries:
        """Put a new consumer in a worker's place."""

    def close(self) -> None:
        """Leave nothing behind."""


class LocalBackend:
    """JoinableQueues of this process; partition p belongs to worker p % 2."""

    room = CAPACITY
    is_forgetful = True
    places = WORKERS

    def __init__(self) -> None:
        self.queue = LocalQueue(multiprocessing.get_context("spawn"), LEDGER, WORKERS)
        self.consumer = self.queue.renew
        self.close = self.queue.close


class Process:
    """A consumer in a process of its own."""

    def __init__(self, deliveries: Deliveries, role: Role) -> None:
        context = multiprocessing.get_context("spawn")
        self._said, theirs = context.Pipe(duplex=False)
        self.process: SpawnProcess = context.Process(
            target=role, args=(deliveries, theirs), daemon=True
        )
        self.process.start()
        theirs.close()
        assert self.said() == b"ready"

    @property
    def pid(self) -> int:
        assert self.process.pid is not None
        return self.process.pid

    def said(self, within: float = 30.0) -> bytes:
        """The next thing it said."""
        assert self._said.poll(within), "the consumer says nothing"
        return self._said.recv_bytes()

    def said_so_far(self) -> list[bytes]:
        """All that it has said, and was not asked about yet."""
        found = []
        while self._said.poll():
            found.append(self._said.recv_bytes())
        return found

    def wait_until_idle(self) -> None:
        """Wait until it sleeps in receive(); it has said all that it had to say before."""
        eventually(lambda: self.state() == "S", what="the consumer sleeps")

    def state(self) -> str:
        return Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()[0]

    def stop(self) -> None:
        os.kill(self.pid, signal.SIGSTOP)
        eventually(lambda: self.state() == "T", what="the consumer is stopped")

    def kill(self) -> None:
        self.process.kill()
        self.process.join()

    def close(self) -> None:
        self.kill()
        self.process.close()
        self._said.close()


@contextmanager
def promptly(within: float = PROMPTLY) -> Iterator[None]:
    started = time.monotonic()
    yield
    assert time.monotonic() - started < within


def taken(deliveries: Deliveries) -> list[bytes]:
    """Take all that is there, and say that it is done."""
    found = []
    while (message := deliveries.receive(0.2)) is not None:
        found.append(message)
        deliveries.done()
    return found


def message(partition: int, first: int = 1, size: int = 0) -> Message:
    """A message with orders, which are of no account here; of about so many bytes."""
    orders = b'{"note":"' + b"x" * size + b'"}'
    return Message(partition, encode_batch(LEDGER, partition, first, [orders]))


def messages(worker: int, count: int, size: int = 0, start: int = 0) -> list[Message]:
    """A message for each of a worker's partitions, from the ``start``-th on."""
    partitions = [worker + WORKERS * number for number in range(start, start + count)]
    return [message(each, size=size) for each in partitions]


def bodies(sent: list[Message]) -> list[bytes]:
    return [message.body for message in sent]


def nudge(partition: int) -> bytes:
    return encode_nudge(LEDGER, partition)
