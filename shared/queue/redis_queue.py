"""The queue of redis mode: RQ on Redis, one queue for a ledger, any number of workers on it.

Redis only carries. What it loses is in the journal, so nothing here waits for it: while it is away
nudges are owed, and one of this or another process finds what is open. The queue is bounded in two
ways: a partition has one message on its way, and no more than ROOM messages wait in all.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError
from typing_extensions import override

from shared.errors import QueueUnavailable
from shared.logs import Logger
from shared.passwords import mask_password
from shared.queue.port import OrderQueue
from shared.queue.redis_connection import ANSWER_SECONDS, RedisConnection
from shared.queue.redis_errors import Diagnosis, diagnose
from shared.queue.redis_keys import on_its_way
from shared.queue.redis_monitor import RedisMonitor, look_after
from shared.queue.redis_sending import SendingEnd
from shared.resilience import Backoff
from shared.schema import Message, encode_nudge

if TYPE_CHECKING:
    from collections.abc import Iterable

ROOM = 64
"""Messages that may wait in Redis: enough to keep many workers busy, little to hold in memory."""

_ON_ITS_WAY_SECONDS = 2.0
"""For so long a message that was not taken stands for those after it, in case it was lost."""

START_SECONDS = 15.0
"""How long to try before a server that has never answered counts as not to be reached."""

_PATIENCE = 0.1
"""How long a sender of orders waits for another one that may be waiting for Redis."""

_LOOK_SECONDS = 0.1

log = Logger("queue")


class RedisQueue(OrderQueue):
    """The producers' end.

    Args:
        url: Where Redis is.
        ledger_id: Whose messages these are.
        password_file: Where its password is; empty if in the URL.
    """

    def __init__(self, url: str, ledger_id: str, password_file: str = "") -> None:
        self._name = mask_password(url)
        self._ledger_id = ledger_id
        self._connection = RedisConnection(url, password_file, patience=ANSWER_SECONDS)
        self._end_there: SendingEnd | None = None
        self._sending = threading.Lock()
        self._lock = threading.Lock()  # of what is owed; nobody waits for Redis under it
        self._owed: set[int] = set()
        # Partitions that may be marked as having a message on its way, and have none.
        self._unsure: set[int] = set()
        self._backoff = Backoff(least=_LOOK_SECONDS)
        self._tries_again_at = 0.0
        self._was_well = threading.Event()
        self._gives_up_at = time.monotonic() + START_SECONDS
        self._asks_at = 0.0
        self._diagnoses: dict[str, Diagnosis | None] = {}
        self._monitor = RedisMonitor(
            RedisConnection(url, password_file, patience=ANSWER_SECONDS),
            ledger_id,
            self._see,
        )

    @override
    def put(self, messages: Iterable[Message]) -> None:
        with self._lock:
            # Where a nudge is owed the journal will be read anyway.
            wanted = [each for each in messages if each.partition not in self._owed]
        # While Redis is away `flush` asks for it. Those who take orders in are not kept from that.
        if self._backoff.seconds or not self._sending.acquire(timeout=_PATIENCE):
            self._owe(wanted)
            return
        try:
            self._send(wanted)
        finally:
            self._sending.release()

    @override
    def nudge(self, partitions: Iterable[int]) -> None:
        with self._lock:
            self._owed.update(partitions)
        self.flush()

    @override
    def flush(self) -> None:
        if not self._owed or not self._sending.acquire(blocking=False):
            return
        try:
            with self._lock:
                owed, self._owed = sorted(self._owed), set()
            self._send([Message(each, encode_nudge(self._ledger_id, each)) for each in owed])
        finally:
            self._sending.release()

    @override
    def depth(self) -> int:
        # 0 while Redis is away.
        if self._backoff.seconds:
            return 0
        try:
            return self._end().depth()
        except Exception:  # noqa: BLE001  whatever a server or a proxy makes of it: others report it
            return 0

    @override
    def join(self, timeout: float) -> bool:
        # Redis tells nobody when a queue is empty, so it is asked.
        deadline = time.monotonic() + timeout
        while self._owed or self.depth():
            if time.monotonic() > deadline:
                return False
            time.sleep(0.01)
            self.flush()
        return True

    @override
    def close(self) -> None:
        # What is in Redis stays there, for the workers elsewhere.
        self._monitor.stop()
        self._connection.close()

    def watch(self) -> None:
        """Look after Redis from now on, so that trouble is known before there is work."""
        self._monitor.start()

    def check(self) -> None:
        """Raise what leaves no hope: as long as Redis was never well, it may never be.

        Once it was, nobody needs to know: what it does not carry is in the journal.

        Raises:
            QueueUnavailable: It refuses what will not pass, or was not well for START_SECONDS.
        """
        now = time.monotonic()
        if self._was_well.is_set() or now < self._asks_at:
            return
        self._asks_at = now + _LOOK_SECONDS
        try:
            look_after(self._connection, self._ledger_id)
        except Exception as error:  # noqa: BLE001  whatever a server or a proxy makes of it
            self._connection.mend(error)
            if self._was_well.is_set():
                return  # meanwhile, for the watch
            diagnosis = diagnose(error)
            if diagnosis.is_lasting:
                raise QueueUnavailable(f"queue {self._name} {diagnosis.text}") from None
            if now > self._gives_up_at:
                raise QueueUnavailable(self._given_up(error)) from None
        else:
            self._was_well.set()

    @property
    def is_away(self) -> bool:
        """Whether Redis did not carry when it was last asked to."""
        return self.trouble is not None

    @property
    def trouble(self) -> str | None:
        """Why Redis does not carry, if so."""
        diagnosis = self._diagnosis()
        return diagnosis and diagnosis.text

    def _given_up(self, error: Exception) -> str:
        why, rest = diagnose(error).text, "what was accepted is kept"
        if isinstance(error, RedisConnectionError | RedisTimeoutError):
            return (
                f"queue {self._name} cannot be reached; see whether Redis runs, and to REDIS_URL "
                f"({why}); {rest}"
            )
        return f"queue {self._name} does not carry: {why}; {rest}"

    def _diagnosis(self) -> Diagnosis | None:
        return next(filter(None, list(self._diagnoses.values())), None)

    def _see(self, diagnosis: Diagnosis | None) -> None:
        """Hear of who watches; what is well for the watch was well once."""
        if diagnosis is None:
            self._was_well.set()
        self._note("watched", diagnosis)

    def _note(self, source: str, diagnosis: Diagnosis | None) -> None:
        """Take down how Redis is, as one of those says who talk to it; log what is new."""
        before = self._diagnosis()
        self._diagnoses[source] = diagnosis
        after = self._diagnosis()
        if after is not None and (before is None or before.code != after.code):
            log.warning("Redis is away; nudges are owed", url=self._name, error=after.text)
        elif before is not None and after is None:
            log.info("Redis is back", url=self._name)

    def _end(self) -> SendingEnd:
        """Return what to talk to; a new one where Redis is not what it was."""
        connection = self._connection.open()
        if self._end_there is None or self._end_there.connection is not connection:
            self._end_there = SendingEnd(connection, self._ledger_id)
        return self._end_there

    def _send(self, messages: list[Message]) -> None:
        """Send what there is room for; owe nudges for the rest."""
        if not messages:
            return
        if time.monotonic() < self._tries_again_at:
            self._owe(messages)
            return
        try:
            left = self._try_to_send(messages)
        except Exception as error:  # noqa: BLE001  whatever a server or a proxy makes of it
            # Whatever it did take: what it should have taken is in the journal.
            left = messages
            self._connection.mend(error)
            self._tries_again_at = time.monotonic() + self._backoff.grow()
            self._note("sending", diagnose(error))
        else:
            if self._backoff.seconds:
                self._backoff.reset()
                self._note("sending", None)
        self._owe(left)

    def _owe(self, messages: list[Message]) -> None:
        with self._lock:
            self._owed.update(each.partition for each in messages)

    def _try_to_send(self, messages: list[Message]) -> list[Message]:
        first: dict[int, Message] = {}
        for message in messages:
            first.setdefault(message.partition, message)
        keys = [on_its_way(self._ledger_id, partition) for partition in first]
        forced = [int(partition in self._unsure) for partition in first]
        end = self._end()
        self._unsure.update(first)  # until it is known what Redis made of it
        answers = end.claim(
            keys=[end.queue.key, *keys], args=[ROOM, int(_ON_ITS_WAY_SECONDS * 1000), *forced]
        )
        claimed = [each for each, said in zip(first.values(), answers, strict=True) if said == 1]
        if claimed:
            end.enqueue(claimed)
        self._unsure.difference_update(first)
        return [each for each, said in zip(first.values(), answers, strict=True) if said < 0]
