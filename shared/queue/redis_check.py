"""Whether Redis does what sending and taking orders needs: tried, with keys that vanish again.

An answer to PING says nothing of that. A replica, a full server, one whose rules allow too little,
and much that stands in front of a server, all answer it.
"""

from __future__ import annotations

import re
import secrets
from typing import Any

from redis.exceptions import InvalidResponse, NoPermissionError

from shared.queue.redis_connection import RedisConnection
from shared.queue.redis_errors import diagnose
from shared.queue.redis_keys import CLAIM, on_its_way, queue_name

PROMPTLY = 1.0
"""Seconds that an answer may take where somebody waits for the verdict."""

_LEFT = b"check"
_SECONDS = 10
"""For so long a key is left behind, should it not be deleted."""


def check(connection: Any, ledger_id: str) -> None:  # noqa: ANN401  of one server, or of a cluster
    """Try what the pipeline needs.

    Raises:
        RedisError: The first thing that failed; all that is forbidden, if nothing else failed.
    """
    name = f"{queue_name(ledger_id)}-check-{secrets.token_hex(4)}"
    mark = on_its_way(ledger_id, name)
    # First, since one of these alone tells soon that a part of a cluster is missing.
    failed = _try_the_rest(connection, f"rq:queue:{name}", mark)
    commands = _commands(name, secrets.token_hex(8), mark)
    with connection.pipeline(transaction=False) as pipeline:
        for command in commands:
            pipeline.execute_command(*command)
        answers = pipeline.execute(raise_on_error=False)
    failed += [
        (str(command[1]), answer)
        for command, answer in zip(commands, answers, strict=True)
        if isinstance(answer, Exception)
    ]
    for _, error in failed:
        if not isinstance(error, NoPermissionError):
            raise error
    if failed:
        raise _forbidden(failed)
    if _LEFT not in answers:
        raise InvalidResponse("what was pushed cannot be taken")


def trouble(url: str, password_file: str, ledger_id: str) -> str | None:
    """Ask Redis once, and not for long; say what is wrong with it, if anything is."""
    connection = RedisConnection(url, password_file, patience=PROMPTLY)
    try:
        check(connection.open(), ledger_id)
    except Exception as error:  # noqa: BLE001  whatever a server or a proxy makes of it
        return diagnose(error).text
    finally:
        connection.close()
    return None


def _try_the_rest(connection: Any, queue: str, mark: str) -> list[tuple[str, Exception]]:  # noqa: ANN401
    """Try what takes a place of its own: the script, and what RQ asks for once."""
    failed: list[tuple[str, Exception]] = []
    try:
        connection.info("server")
    except NoPermissionError as error:
        failed.append(("", error))
    try:
        said = connection.register_script(CLAIM)(keys=[queue, mark], args=[1, _SECONDS * 1000, 0])
        connection.delete(mark)
    except NoPermissionError as error:
        return [*failed, (queue, error)]
    if said != [1]:
        raise InvalidResponse(f"a script returns {ascii(said)[:80]}, and not [1]")
    return failed


def _commands(name: str, job: str, mark: str) -> list[tuple[str | bytes | int, ...]]:
    """List what RQ, its worker and what is here ask for, each with a key of its kind."""
    queue, between = f"rq:queue:{name}", f"rq:queue:{name}:intermediate"
    started, failed = f"rq:wip:{name}", f"rq:failed:{name}"
    cleaning, present = f"rq:clean_registries:{name}", f"rq:workers:{name}"
    about, begun = f"rq:job:{job}", f"rq:executions:{job}"
    execution, results = f"rq:execution:{job}:{job}", f"rq:results:{job}"
    worker, at_work = f"rq:worker:{name}", f"rq:worker:{name}:executions"
    made = [queue, between, started, failed, cleaning, present, about, begun, execution, results]
    made += [worker, at_work]
    return [
        ("HSET", about, "status", "queued"),
        ("RPUSH", queue, _LEFT),
        ("LLEN", queue),
        ("BLMOVE", queue, between, "LEFT", "RIGHT", 1),
        ("HGETALL", about),
        ("HGET", about, "status"),
        ("PERSIST", about),
        ("LRANGE", between, 0, -1),
        ("LREM", between, 1, _LEFT),
        ("LPUSH", queue, _LEFT),
        ("ZADD", started, 1, job),
        ("ZCARD", started),
        ("ZRANGEBYSCORE", started, 0, 1),
        ("ZREM", started, job),
        ("ZADD", failed, 1, job),
        ("ZREMRANGEBYSCORE", failed, 0, 1),
        ("HSET", execution, "id", job),
        ("ZADD", begun, 1, job),
        ("XADD", results, "MAXLEN", "~", 10, "*", "type", 1),
        ("SET", cleaning, 1, "NX", "EX", _SECONDS),
        ("HSET", worker, "state", "idle"),
        ("HEXISTS", worker, "death"),
        ("HINCRBY", worker, "failed_job_count", 1),
        ("HINCRBYFLOAT", worker, "total_working_time", 1),
        ("SADD", at_work, job),
        ("SREM", at_work, job),
        ("SADD", present, worker),
        ("SMEMBERS", present),
        # These are everybody's, so nothing is changed.
        ("SREM", "rq:workers", worker),
        ("SREM", "rq:queues", queue),
        ("EXISTS", "rq:suspended"),
        ("SET", mark, 1, "EX", _SECONDS),
        ("PTTL", mark),
        ("TYPE", mark),
        ("DEL", mark),
        *(("EXPIRE", key, _SECONDS) for key in made),
        *(("DEL", key) for key in made),
    ]


def _forbidden(failed: list[tuple[str, Exception]]) -> NoPermissionError:
    """Say together what a user would have to be allowed."""
    commands: dict[str, None] = {}
    keys = set()
    for key, error in failed:
        named = re.search(r"run the '([^']+)' command", str(error))
        if named:
            commands[named[1]] = None
        else:
            keys.add(f"{key.partition(':')[0]}:*")
    said = ["no " + ", ".join(commands)] if commands else []
    said += ["no keys like " + ", ".join(sorted(keys))] if keys else []
    grants = [f"~{key}" for key in sorted(keys)] + [f"+{name}" for name in commands]
    return NoPermissionError(
        f"{' and '.join(said)}; grant {' '.join(grants)}", status_code="NOPERM"
    )
