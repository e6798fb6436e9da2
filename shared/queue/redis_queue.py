"""The queue of redis mode: RQ on Redis, one queue for a ledger, any number of workers on it.

Redis only carries. What it loses is in the journal, so nothing here waits for it: while it is away
nudges are owed, and one of this or another process finds what is open. The queue is bounded in two
ways: a partition has one message on its way, and no more than ROOM messages wait in all.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any

import redis
from redis.backoff import NoBackoff
from redis.exceptions import AuthenticationError, NoPermissionError, RedisError
from redis.retry import Retry as RedisRetry
from rq import Queue, Retry
from rq.serializers import JSONSerializer

from shared.errors import QueueUnavailable
from shared.logs import Logger
from shared.passwords import mask_password
from shared.queue.closed_job import FAILURE_TTL, FUNCTION, JOB_TIMEOUT, REDELIVERIES, ClosedJob
from shared.queue.port import OrderQueue
from shared.schema import Message, encode_nudge

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rq.queue import EnqueueData

ROOM = 64
"""Messages that may wait in Redis: enough to keep many workers busy, little to hold in memory."""

ANSWER_SECONDS = 2.0
"""How long to wait for an answer of Redis."""

_ON_ITS_WAY_SECONDS = 2.0
"""For so long a message that was not taken stands for those after it, in case it was lost."""

START_SECONDS = 15.0
"""How long to try before a server that has never answered counts as not to be reached."""

_PATIENCE = 0.1
"""How long a sender of orders waits for another one that may be waiting for Redis."""

_REST_LEAST = 0.1
_REST_MOST = 2.0

# For each partition: 1 if its message shall be sent, 0 if another one is on its way, and -1 if
# there is no room. Sending marks the partition; the consumer that takes the message unmarks it.
_CLAIM = """
local room = ARGV[1] - redis.call('LLEN', KEYS[1])
local said = {}
for i = 2, #KEYS do
  if ARGV[i + 1] == '0' and redis.call('EXISTS', KEYS[i]) == 1 then
    said[i - 1] = 0
  elseif room <= 0 then
    said[i - 1] = -1
  else
    redis.call('SET', KEYS[i], 1, 'PX', ARGV[2])
    said[i - 1] = 1
    room = room - 1
  end
end
return said
"""

log = Logger("queue")


def connect(url: str) -> redis.Redis:
    """Prepare to talk to Redis; the first command connects."""
    return redis.Redis.from_url(
        url,
        socket_timeout=ANSWER_SECONDS,
        socket_connect_timeout=ANSWER_SECONDS,
        socket_keepalive=True,
        # Once more, since a connection may have been closed while it was not used; but not where an
        # answer is missing: a server that is frozen would cost that time twice.
        retry=RedisRetry(NoBackoff(), 1, supported_errors=(redis.ConnectionError,)),
    )


def queue_name(ledger_id: str) -> str:
    """Name a ledger's queue: its own, so that ledgers may share a Redis."""
    return f"orderly-{ledger_id}"


def on_its_way(ledger_id: str, partition: int) -> str:
    """Name the key that is there while a partition's last message has not been taken."""
    return f"orderly:{ledger_id}:on-its-way:{partition}"


def rq_queue(
    connection: redis.Redis, ledger_id: str, queue_class: type[Queue], job_class: type[ClosedJob]
) -> Queue:
    """Make RQ's end of a ledger's queue."""
    return queue_class(
        queue_name(ledger_id), connection=connection, job_class=job_class, serializer=JSONSerializer
    )


class RedisQueue(OrderQueue):
    """The producers' end.

    Args:
        url: Where Redis is.
        ledger_id: Whose messages these are.
    """

    def __init__(self, url: str, ledger_id: str) -> None:
        self._name = mask_password(url)
        self._ledger_id = ledger_id
        self._redis = connect(url)
        self._queue = rq_queue(self._redis, ledger_id, Queue, ClosedJob)
        self._sending = threading.Lock()
        self._lock = threading.Lock()  # of what is owed; nobody waits for Redis under it
        self._claim: Any = self._redis.register_script(_CLAIM)
        self._owed: set[int] = set()
        # Partitions that may be marked as having a message on its way, and have none.
        self._unsure: set[int] = set()
        self._rest = 0.0
        self._rests_until = 0.0
        self._gives_up_at: float | None = time.monotonic() + START_SECONDS
        self._asks_at = 0.0

    def put(self, messages: Iterable[Message]) -> None:
        """See the port."""
        with self._lock:
            # Where a nudge is owed the journal will be read anyway.
            wanted = [each for each in messages if each.partition not in self._owed]
        # While Redis is away `flush` asks for it. Those who take orders in are not kept from that.
        if self._rest or not self._sending.acquire(timeout=_PATIENCE):
            self._owe(wanted)
            return
        try:
            self._send(wanted)
        finally:
            self._sending.release()

    def nudge(self, partitions: Iterable[int]) -> None:
        """See the port."""
        with self._lock:
            self._owed.update(partitions)
        self.flush()

    def flush(self) -> None:
        """See the port."""
        if not self._owed or not self._sending.acquire(blocking=False):
            return
        try:
            with self._lock:
                owed, self._owed = sorted(self._owed), set()
            self._send([Message(each, encode_nudge(self._ledger_id, each)) for each in owed])
        finally:
            self._sending.release()

    def depth(self) -> int:
        """See the port; 0 while Redis is away."""
        try:
            with self._redis.pipeline(transaction=False) as pipeline:
                pipeline.llen(self._queue.key)
                pipeline.llen(self._queue.intermediate_queue_key)
                pipeline.zcard(self._queue.started_job_registry.key)
                return sum(pipeline.execute())
        except RedisError:
            return 0

    def join(self, timeout: float) -> bool:
        """See the port. Redis tells nobody when a queue is empty, so it is asked."""
        deadline = time.monotonic() + timeout
        while self._owed or self.depth():
            if time.monotonic() > deadline:
                return False
            time.sleep(0.01)
            self.flush()
        return True

    def close(self) -> None:
        """See the port. What is in Redis stays there, for the workers elsewhere."""
        self._redis.close()

    def check(self) -> None:
        """Raise what leaves no hope: as long as Redis has never answered, it may not be there.

        Once it has, nobody needs to know: what it does not carry is in the journal.

        Raises:
            QueueUnavailable: It refuses the password, or has not answered for START_SECONDS.
        """
        now = time.monotonic()
        if self._gives_up_at is None or now < self._asks_at:
            return
        self._asks_at = now + _REST_LEAST
        try:
            self._redis.ping()
        except (AuthenticationError, NoPermissionError):
            raise QueueUnavailable(
                f"queue {self._name} refuses the user or the password; see to REDIS_URL and "
                "REDIS_PASSWORD_FILE"
            ) from None
        except RedisError:
            if now > self._gives_up_at:
                raise QueueUnavailable(
                    f"queue {self._name} cannot be reached; see whether Redis runs, and to "
                    "REDIS_URL; what was accepted is kept"
                ) from None
        else:
            self._gives_up_at = None

    @property
    def is_away(self) -> bool:
        """Whether Redis did not answer when it was last asked."""
        return self._rest > 0

    def _send(self, messages: list[Message]) -> None:
        """Send what there is room for; owe nudges for the rest."""
        if not messages:
            return
        if time.monotonic() < self._rests_until:
            self._owe(messages)
            return
        try:
            left = self._try_to_send(messages)
        except RedisError as error:
            # Whatever it did take: what it should have taken is in the journal.
            left = messages
            if not self._rest:
                log.warning("Redis is away; nudges are owed", url=self._name, error=str(error))
            self._rest = min(_REST_MOST, self._rest * 2 or _REST_LEAST)
            self._rests_until = time.monotonic() + self._rest
        else:
            if self._rest:
                log.info("Redis is back", url=self._name)
            self._rest = 0.0
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
        self._unsure.update(first)  # until it is known what Redis made of it
        answers = self._claim(
            keys=[self._queue.key, *keys], args=[ROOM, int(_ON_ITS_WAY_SECONDS * 1000), *forced]
        )
        claimed = [each for each, said in zip(first.values(), answers, strict=True) if said == 1]
        if claimed:
            self._queue.enqueue_many([_job(message) for message in claimed])
        self._unsure.difference_update(first)
        return [each for each, said in zip(first.values(), answers, strict=True) if said < 0]


def _job(message: Message) -> EnqueueData:
    return Queue.prepare_data(
        FUNCTION,
        args=(message.body.decode(),),
        timeout=JOB_TIMEOUT,
        result_ttl=0,
        failure_ttl=FAILURE_TTL,
        description=f"partition {message.partition}",
        retry=Retry(max=REDELIVERIES),
    )
