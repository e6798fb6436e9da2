"""Keys of a ledger's queue that hold what is no queue: they are taken away, since nothing is lost.

Whoever can write to Redis can leave a text where RQ keeps a list, and each command on it fails for
as long as it is there. What Redis carries is in the journal, so such a key is rebuilt from nothing.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from redis.exceptions import NoPermissionError

from shared.logs import Logger
from shared.queue.redis_keys import queue_name

# Looked at and deleted at once: what others have rebuilt meanwhile stays.
_CLEAR = """
local found = redis.call('TYPE', KEYS[1]).ok
if found == 'none' then return '' end
if found == ARGV[1] and (ARGV[2] == '0' or redis.call('PTTL', KEYS[1]) ~= -1) then return '' end
redis.call('DEL', KEYS[1])
return found
"""

log = Logger("queue")


def clear(connection: Any, ledger_id: str) -> None:  # noqa: ANN401  of one server, or of a cluster
    """Take away what is of another type than it must be, and say so.

    Raises:
        RedisError: Redis is away.
    """
    name = queue_name(ledger_id)
    # This one is everybody's lock, and would be held for ever if it did not expire.
    lock = f"rq:clean_registries:{name}"
    types = {
        f"rq:queue:{name}": "list",
        f"rq:queue:{name}:intermediate": "list",
        f"rq:wip:{name}": "zset",
        f"rq:failed:{name}": "zset",
        lock: "string",
        f"rq:workers:{name}": "set",
        "rq:workers": "set",
        "rq:queues": "set",
    }
    with suppress(NoPermissionError):  # whoever tries all that is needed says what is forbidden
        for key in _strange(connection, types, lock):
            script = connection.register_script(_CLEAR)
            held = script(keys=[key], args=[types[key], int(key == lock)])
            if held:
                log.warning(
                    "a key of Redis held what it may not and was deleted; the journal has the rest",
                    key=key,
                    held=held.decode(),
                    wanted=types[key],
                )


def _strange(connection: Any, types: dict[str, str], lock: str) -> list[str]:  # noqa: ANN401
    """Look which keys are to be cleared, at the price of one question."""
    with connection.pipeline(transaction=False) as pipeline:
        for key in types:
            pipeline.type(key)
        pipeline.pttl(lock)
        *found, left = pipeline.execute()
    held = {key: each.decode() for key, each in zip(types, found, strict=True)}
    strange = [key for key, wanted in types.items() if held[key] not in {"none", wanted}]
    return strange + [lock] * (held[lock] == types[lock] and left == -1)
