"""What is wrong with Redis, in a line."""

from __future__ import annotations

import pytest
from redis import exceptions

from shared.queue.redis_errors import diagnose


@pytest.mark.parametrize(
    ("error", "code", "words", "is_lasting"),
    [
        (
            exceptions.ReadOnlyError("You can't write.", status_code="READONLY"),
            "READONLY",
            "READONLY You can't write; it is a replica",
            False,
        ),
        (
            exceptions.ResponseError("Error running script: -READONLY You can't write."),
            "READONLY",
            "it is a replica",
            False,
        ),
        (
            exceptions.ResponseError("MISCONF Redis is configured to save"),
            "MISCONF",
            "it cannot save to its disk",
            False,
        ),
        (
            exceptions.AuthenticationError("invalid pair", status_code="WRONGPASS"),
            "AUTH",
            "REDIS_PASSWORD_FILE (WRONGPASS invalid pair)",
            True,
        ),
        (
            exceptions.ConnectionError("Error 1 connecting: certificate verify failed"),
            "AWAY",
            "certificate verify failed",
            True,
        ),
        (exceptions.ResponseError("unknown command 'BLMOVE'"), "AWAY", "'BLMOVE'", True),
        (exceptions.TimeoutError("Timeout reading from socket"), "AWAY", "Timeout", False),
        (exceptions.RedisClusterException("no node"), "AWAY", "no node", False),
        (KeyError("redis_version"), "REFUSED", "KeyError: 'redis_version'", False),
        (exceptions.ConnectionError(""), "AWAY", "ConnectionError", False),
    ],
)
def test_an_error_says_what_it_is_and_whether_it_passes(
    error: Exception, code: str, words: str, *, is_lasting: bool
) -> None:
    found = diagnose(error)
    assert (found.code, found.is_lasting) == (code, is_lasting)
    assert words in found.text


def test_nothing_of_what_a_command_carried_is_told() -> None:
    told = "Command # 2 (HSET rq:job:1 data ada@example.com\n) of pipeline caused error: BUSY a"
    assert diagnose(exceptions.ResponseError(told)).text.startswith("BUSY a; somebody")


def test_what_is_said_is_one_line_and_short() -> None:
    text = diagnose(exceptions.ResponseError("a\x1b[2J\r\nb " + "x" * 5000)).text
    assert text.isprintable()
    assert len(text) <= 300
