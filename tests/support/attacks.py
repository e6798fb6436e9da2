"""What somebody who can write to Redis may push at payment workers, by plain redis-py and rq.

Nothing here shares code with what is attacked but the names of queue and function.
"""

from __future__ import annotations

import json
import os
import pickle
import zlib
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from rq import Callback, Queue
from rq.job import Job, JobStatus
from rq.registry import FailedJobRegistry
from rq.serializers import JSONSerializer
from rq.webhook import Webhook

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import redis

FUNCTION = "orderly.settle_batch"
NOISE = bytes(range(256)) * 40


class Evil:
    """Runs a command when it is unpickled."""

    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (self.command,)


@dataclass
class Attacker:
    """Knows a ledger's queue, and a genuine message for it.

    Attributes:
        connection: To Redis.
        name: The queue's.
        message: What a producer may send.
        loot: A folder that no attack may ever put a file into.
        url: An address that nobody may ever call.
    """

    connection: redis.Redis
    name: str
    message: str
    loot: Path
    url: str

    def command(self, name: str) -> str:
        """A command that leaves a file."""
        return f"touch {self.loot}/{name}"

    def job(self, name: str, *, data: bytes | None = None, **fields: Any) -> str:
        """Push the job that producers push, but for some fields of its hash."""
        self._save(name, self.create(name), data, fields)
        return self.push(name)

    def create(self, name: str, func: str = FUNCTION, *args: Any, **options: Any) -> Job:
        """Make a job as rq does."""
        options.setdefault("serializer", JSONSerializer)
        options.setdefault("description", "an attack")
        return Job.create(
            func,
            args or (self.message,),
            connection=self.connection,
            id=name,
            origin=self.name,
            status=JobStatus.QUEUED,
            **options,
        )

    def made(self, name: str, *arguments: Any, **options: Any) -> str:
        """Push a job that rq makes."""
        self._save(name, self.create(name, *arguments, **options), None, {})
        return self.push(name)

    def push(self, entry: str | bytes) -> str:
        """Put an entry into the queue, in front of all others."""
        self.connection.lpush(Queue(self.name, connection=self.connection).key, entry)
        return entry if isinstance(entry, str) else ""

    def abandon(self, name: str, **fields: Any) -> str:
        """Put a job into the registry of those under way, as if its worker had died long ago."""
        self._save(name, self.create(name), None, {"status": "started"} | fields)
        self.connection.zadd(self.started, {f"{name}:0123": 1})
        return name

    @property
    def started(self) -> str:
        """The registry of jobs under way."""
        return f"rq:wip:{self.name}"

    @property
    def between(self) -> str:
        """The list of jobs that were taken, and not begun."""
        return f"rq:queue:{self.name}:intermediate"

    def refused(self) -> dict[str, str]:
        """Read RQ's failed registry as its operator would: why each job was refused, by id."""
        registry = FailedJobRegistry(
            self.name, connection=self.connection, serializer=JSONSerializer
        )
        found = {}
        for job_id in registry.get_job_ids():
            job = Job.fetch(job_id, connection=self.connection, serializer=JSONSerializer)
            assert job.get_status() is JobStatus.FAILED
            result = job.latest_result()
            assert result is not None
            found[job_id] = str(result.exc_string)
        return found

    def _save(self, name: str, job: Job, data: bytes | None, fields: dict[str, Any]) -> None:
        job.save()
        if data is not None:
            fields = fields | {"data": data}
        if fields:
            mapping: dict[Any, Any] = fields
            self.connection.hset(f"rq:job:{name}", mapping=mapping)


BOMB_BYTES = 256 * 1024 * 1024


@cache
def bomb() -> bytes:
    """Pack very much into some kilobytes."""
    packing = zlib.compressobj()
    piece = bytes(1024 * 1024)
    pieces = [packing.compress(piece) for _ in range(BOMB_BYTES // len(piece))]
    return b"".join(pieces) + packing.flush()


def call(*call: Any) -> bytes:
    """Write a job's data by hand: a call's name, instance, arguments and keywords."""
    return zlib.compress(json.dumps(call).encode())


def _pickled(it: Attacker, name: str) -> str:
    """Push a job as rq's default serializer writes it: reading its arguments runs a command."""
    return it.made(name, FUNCTION, Evil(it.command(name)), serializer=None)


REFUSED: dict[str, tuple[Callable[[Attacker, str], str], str]] = {
    "names-another-function": (
        lambda it, name: it.made(name, "os.system", it.command(name)),
        f"names 'os.system', and only {FUNCTION} is run here",
    ),
    "is-pickled": (_pickled, "its data is not JSON"),
    "has-callbacks": (
        lambda it, name: it.made(
            name, on_success=Callback("os.system"), on_failure=Callback("os.system")
        ),
        "carries what no job here carries: failure_callback_name, failure_callback_time",
    ),
    "has-a-callback-if-stopped": (
        lambda it, name: it.made(name, on_stopped=Callback("os.system")),
        "carries what no job here carries: stopped_callback_name",
    ),
    "has-webhooks": (
        lambda it, name: it.made(
            name, webhooks=[Webhook(it.url, "finished"), Webhook(it.url, "failed")]
        ),
        "carries what no job here carries: webhooks",
    ),
    "has-a-nonsense-status": (
        lambda it, name: it.job(name, status=b"\xff nonsense"),
        "has the status '\ufffd nonsense'",
    ),
    "has-pickled-meta": (
        lambda it, name: it.job(name, meta=pickle.dumps(Evil(it.command(name)))),
        "carries what no job here carries: meta",
    ),
    "repeats": (
        lambda it, name: it.job(name, repeats_left=9, repeat_intervals="[1]"),
        "carries what no job here carries: repeat_intervals, repeats_left",
    ),
    "is-limited": (
        lambda it, name: it.job(name, rate_limit_key="k", rate_limit_concurrency=1),
        "carries what no job here carries: rate_limit_concurrency, rate_limit_key",
    ),
    "depends": (
        lambda it, name: it.job(name, dependency_ids='["other"]'),
        "carries what no job here carries: dependency_ids",
    ),
    "has-a-result": (
        lambda it, name: it.job(name, result=pickle.dumps(Evil(it.command(name)))),
        "carries what no job here carries: result",
    ),
    "has-no-data": (lambda it, name: it.job(name, data=b""), "carries no data"),
    "is-noise": (lambda it, name: it.job(name, data=NOISE), "its data is not JSON"),
    "is-packed-noise": (
        lambda it, name: it.job(name, data=zlib.compress(NOISE)),
        "its data is not JSON",
    ),
    "is-a-bomb": (lambda it, name: it.job(name, data=bomb()), "its data is not JSON"),
    "has-a-bomb-beside": (lambda it, name: it.job(name, exc_info=bomb()), ""),
    "is-cut-off": (
        lambda it, name: it.job(name, data=call(FUNCTION, None, [it.message], {})[:-2]),
        "its data is not JSON",
    ),
    "is-deeply-nested": (
        lambda it, name: it.job(name, data=b"[" * 100_000),
        "its data is not JSON",
    ),
    "calls-a-method": (
        lambda it, name: it.job(name, data=call(FUNCTION, "instance", [it.message], {})),
        "calls no function with one text",
    ),
    "calls-with-keywords": (
        lambda it, name: it.job(name, data=call(FUNCTION, None, [it.message], {"a": 1})),
        "calls no function with one text",
    ),
    "carries-a-number": (
        lambda it, name: it.job(name, data=call(FUNCTION, None, [7], {})),
        "calls no function with one text",
    ),
    "carries-half-a-character": (
        lambda it, name: it.job(name, data=call(FUNCTION, None, ["\ud800"], {})),
        "carries half a character",
    ),
    "was-made-at-no-time": (
        lambda it, name: it.job(name, created_at="yesterday"),
        "does not decode: ValueError",
    ),
    "has-no-time": (
        lambda it, name: it.job(name, timeout="long"),
        "does not decode: AssertionError",
    ),
    "is-another-queues": (lambda it, name: it.job(name, origin="other"), "is another queue's"),
    "carries-noise": (
        lambda it, name: it.made(name, FUNCTION, NOISE.decode("latin-1")),
        "carries a message that is no OrderBatch of this version",
    ),
    "is-of-another-version": (
        lambda it, name: it.made(
            name, FUNCTION, it.message.replace('"schema_version":1', '"schema_version":2')
        ),
        "carries a message that is no OrderBatch of this version",
    ),
    "was-abandoned-with-nothing-left": (
        lambda it, name: it.abandon(name, retries_left=0),
        "was abandoned",
    ),
    "was-abandoned-with-another-function": (
        lambda it, name: it.abandon(name, data=call("os.system", None, [it.command(name)], {})),
        "names 'os.system'",
    ),
}
"""Jobs that are refused: how each is pushed, and how the reason for its refusal begins."""
