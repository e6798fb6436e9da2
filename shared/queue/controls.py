"""What a service tells the workers of redis mode beside their orders: pause, go on, die.

For a show: a worker listens only if it runs with CHAOS=1. Nothing here touches an order, and what
was said is forgotten by itself, so that it cannot outlast the show.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

from shared.errors import QueueUnavailable
from shared.queue.redis_connection import RedisConnection
from shared.queue.redis_errors import diagnose
from shared.queue.redis_keys import own_key

if TYPE_CHECKING:
    from collections.abc import Iterator

PAUSE_SECONDS = 600
"""A pause that nobody ends."""

_KILL_SECONDS = 5
_ANY = b"any"


class Commands(NamedTuple):
    """What a worker was told."""

    is_paused: bool
    is_killed: bool


class Controls:
    """Both ends of it.

    Args:
        url: Where Redis is.
        ledger_id: Whose workers these are.
        password_file: Where its password is; empty if in the URL.
    """

    def __init__(self, url: str, ledger_id: str, password_file: str = "") -> None:
        self._connection = RedisConnection(url, password_file)
        self._paused = own_key(ledger_id, "paused")
        self._killed = own_key(ledger_id, "chaos")

    def pause(self, *, is_wanted: bool) -> None:
        """Pause the workers, or let them go on.

        Raises:
            QueueUnavailable: Redis is away.
        """
        with self._talking() as redis:
            if is_wanted:
                redis.set(self._paused, 1, ex=PAUSE_SECONDS)
            else:
                redis.delete(self._paused)

    def is_paused(self) -> bool:
        """Whether workers are paused.

        Raises:
            QueueUnavailable: Redis is away.
        """
        with self._talking() as redis:
            return bool(redis.exists(self._paused))

    def kill(self, worker: str | None) -> None:
        """Have a worker kill itself, or whoever hears it first.

        Raises:
            QueueUnavailable: Redis is away.
        """
        with self._talking() as redis:
            redis.set(self._killed, worker or _ANY, ex=_KILL_SECONDS)

    def listen(self, worker: str) -> Commands:
        """Hear what was said to a worker. One alone is told to die by any one message.

        Raises:
            QueueUnavailable: Redis is away.
        """
        with self._talking() as redis:
            paused, killed = redis.mget(self._paused, self._killed)
            is_meant = killed in {_ANY, worker.encode()} and redis.delete(self._killed) == 1
        return Commands(paused is not None, is_meant)

    @contextmanager
    def _talking(self) -> Iterator[Any]:
        try:
            yield self._connection.open()
        except Exception as error:  # noqa: BLE001  whatever a server or a proxy makes of it
            self._connection.mend(error)
            raise QueueUnavailable(f"Redis is away: {diagnose(error).text}") from None
