"""The only kind of RQ job that is ever sent or run here: one function, one text, nothing else.

RQ trusts whoever can write to Redis: a job's hash may name any importable function, carry pickled
data, callbacks to import and addresses to fetch. Here a hash is held against what this project
writes before RQ reads any of it. What does not fit is refused, and never becomes a job.
"""

from __future__ import annotations

import json
import zlib
from typing import TYPE_CHECKING, Any

from rq.exceptions import NoSuchJobError
from rq.job import Job, JobStatus
from rq.serializers import JSONSerializer
from rq.utils import decode_redis_hash
from typing_extensions import override

from shared.texts import legible, of_error, shown

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from redis import Redis

FUNCTION = "orderly.settle_batch"
"""What a job calls: a name that leads to no module. Only the consumers' end has the function."""

JOB_TIMEOUT = 10
"""Seconds after which RQ takes a job for abandoned. One takes about a second at most."""

REDELIVERIES = 3
"""How often RQ sends a job again that was abandoned, before it counts as failed."""

FAILURE_TTL = 24 * 3600
"""Seconds for which a failed job can be looked at."""

MOST_BYTES = 4 * 1024 * 1024
"""No job's data is larger; what unpacks to more was not packed here."""

_KNOWN = {
    *("created_at", "enqueued_at", "started_at", "ended_at", "last_heartbeat"),
    *("data", "description", "origin", "status", "worker_name", "timeout"),
    *("result_ttl", "failure_ttl", "retries_left", "exc_info", "retry_intervals"),
}
_UNDER_WAY = {JobStatus.QUEUED.value.encode(), JobStatus.STARTED.value.encode()}


class Refused(NoSuchJobError):
    """A hash is not one of our jobs; says why.

    To RQ, which fetches jobs in many places, it is as if there were none.
    """


class ClosedJob(Job):
    """A job that names one function, carries one text, and can do nothing else."""

    def __init__(
        self,
        id: str | None = None,  # noqa: A002  as RQ calls it
        connection: Redis | None = None,
        serializer: Any = None,  # noqa: ANN401  whatever RQ passes on: it is always JSON here
    ) -> None:
        del serializer
        super().__init__(id, connection, JSONSerializer)

    @override
    def restore(self, raw_data: dict[bytes | str, Any]) -> None:
        """Become what a hash in Redis says, if that is one of our jobs.

        Raises:
            Refused: It is not.
        """
        fields = decode_redis_hash(raw_data)
        _check(fields)
        # Nobody here reads it, and RQ would unpack it whatever it unpacks to.
        fields.pop("exc_info", None)
        try:
            super().restore(fields)
        except Exception as error:  # noqa: BLE001  whatever RQ makes of a stranger's values
            raise Refused(f"does not decode: {of_error(error)}") from None
        self.timeout, self.result_ttl, self.failure_ttl = JOB_TIMEOUT, 0, FAILURE_TTL
        self.retries_left = min(self.retries_left or 0, REDELIVERIES)
        self.retry_intervals = None  # at once: nobody here moves jobs that wait for their time

    @property
    @override
    def func(self) -> Callable[[str], None]:
        """Nothing: this end calls no function."""
        raise Refused("this process runs no jobs")

    # RQ would import what these name.
    success_callback = property(lambda _: None)
    failure_callback = property(lambda _: None)
    stopped_callback = property(lambda _: None)


def evidence(data: bytes) -> bytes:
    """What a refused job's data leaves behind for its operator: JSON, and nothing else.

    RQ's other programs unpack all there is to unpack, and some of them unpickle what they show.
    """
    try:
        json.loads(_unpack(data))
    except (ValueError, zlib.error, RecursionError):
        return b""
    return data


def _check(fields: Mapping[str, bytes]) -> None:
    """Hold a hash against what this project writes."""
    if strange := sorted(name for name, value in fields.items() if value and name not in _KNOWN):
        raise Refused(f"carries what no job here carries: {legible(', '.join(strange), 200)}")
    if fields.get("status") not in _UNDER_WAY:
        raise Refused(f"has the status {_shown(fields.get('status', b''))}")
    data = fields.get("data")
    if not data:
        raise Refused("carries no data")
    try:
        call = json.loads(_unpack(data))
    except (ValueError, zlib.error, RecursionError):
        raise Refused("its data is not JSON") from None
    match call:
        case [str(name), None, [str(text)], {}] if name == FUNCTION and not call[3]:
            _check_text(text)
        case [str(name), None, [str()], {}] if not call[3]:
            raise Refused(f"names {_shown(name.encode())}, and only {FUNCTION} is run here")
        case _:
            raise Refused("calls no function with one text")


def _check_text(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise Refused("carries half a character") from None


def _unpack(data: bytes) -> bytes:
    """Decompress as RQ compresses, but never into more than a job may carry."""
    unpacking = zlib.decompressobj()
    try:
        unpacked = unpacking.decompress(data, MOST_BYTES)
    except zlib.error:
        return data[:MOST_BYTES]  # RQ reads plain data, too
    if unpacking.unconsumed_tail or not unpacking.eof:
        raise ValueError("too large, or cut off")
    return unpacked


def _shown(value: bytes) -> str:
    return shown(value[:80].decode(errors="replace"))
