"""The queue's port: what a backend must do to carry orders from a producer to the consumers.

A queue is transport. What it carries is in the journal already, so a backend may lose, repeat and
reorder messages; in return it never blocks intake and never says that it is full. Whether a
partition belongs to one consumer, or to whoever is free, is the backend's affair: its cursor is
moved by one at a time.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from shared.schema import Message


class EndOfQueue(Exception):
    """The producer is done: settle what you hold and leave. Where consumers have one producer."""


class OrderQueue(ABC):
    """The producer's end."""

    @abstractmethod
    def put(self, messages: Iterable[Message]) -> None:
        """Hand messages to the consumers of their partitions; each gets its own in order.

        They are UTF-8 text. Does not block for room. A message for which there is none is
        dropped, and a nudge for its partition is owed in its place: its consumer reads the
        journal instead. One for a partition whose last message has not been taken yet may be
        dropped, too: whoever takes that one settles all that is in the journal by then.
        """

    @abstractmethod
    def nudge(self, partitions: Iterable[int]) -> None:
        """Ask the consumers of these partitions to look at the journal. As ``put``."""

    @abstractmethod
    def flush(self) -> None:
        """Pay the nudges that are owed, as far as there is room now; call it now and then."""

    @abstractmethod
    def depth(self) -> int:
        """Count the messages that were put and are not done yet; roughly, while they move."""

    @abstractmethod
    def join(self, timeout: float) -> bool:
        """Wait until every message is done; return False when ``timeout`` seconds were too few."""

    @abstractmethod
    def close(self) -> None:
        """Let go of every resource. What is still queued may be lost, and is in the journal."""


class QueuePerWorker(OrderQueue):
    """A queue for each consumer, which is thrown away when that dies.

    Partition ``p`` belongs to consumer ``p % workers`` for as long as the queue lasts.
    """

    @abstractmethod
    def renew(self, worker: int) -> Deliveries:
        """Replace a consumer's queue with an empty one.

        Returns:
            The end for its next process, which travels there as an argument.
        """

    @abstractmethod
    def finish(self, worker: int) -> bool:
        """Send a consumer the end mark; False if there is no room for it yet."""


class Deliveries(ABC):
    """A consumer's end, where consumers ask for messages; RQ runs its consumers itself."""

    @abstractmethod
    def receive(self, timeout: float) -> bytes | None:
        """Take the next message; None after ``timeout`` seconds without one.

        Raises:
            EndOfQueue: There will be no more.
        """

    @abstractmethod
    def done(self) -> None:
        """Say that the message received last is dealt with."""
