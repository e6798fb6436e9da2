"""URLs of Redis, taken apart."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from shared.environment import load_settings
from shared.errors import ConfigurationError
from shared.queue.redis_connection import connect
from shared.redis_urls import RedisUrl, parse_redis_url

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("text", "fields"),
    [
        ("redis://host", {"hosts": (("host", 6379),)}),
        ("redis://[::1]:7000/2", {"hosts": (("::1", 7000),), "db": 2}),
        ("redis://host?db=3", {"hosts": (("host", 6379),), "db": 3}),
        (
            "redis://clerk:p%40ss%3A@host/0",
            {"hosts": (("host", 6379),), "username": "clerk", "password": "p@ss:"},
        ),
        ("redis://:p@ss@host", {"hosts": (("host", 6379),), "password": "p@ss"}),
        ("unix:///run/redis.sock?db=1", {"path": "/run/redis.sock", "db": 1}),
        (
            "redis+sentinel://:word@one,two:26380/tills",
            {"hosts": (("one", 26379), ("two", 26380)), "service": "tills", "password": "word"},
        ),
        (
            "rediss+sentinel://one/tills/4?sentinel_username=guard",
            {
                "hosts": (("one", 26379),),
                "service": "tills",
                "db": 4,
                "options": {"sentinel_username": "guard"},
            },
        ),
    ],
)
def test_a_url_says_where_who_and_how(text: str, fields: dict[str, Any]) -> None:
    assert parse_redis_url(text) == RedisUrl(text.partition(":")[0], **fields)


def test_a_password_may_have_what_should_have_been_escaped(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("REDIS_URL", "redis+sentinel://clerk:a/b@c:d@one:1,two:2/tills/0")
    found = parse_redis_url(load_settings().redis_url)
    assert (found.username, found.password) == ("clerk", "a/b@c:d")
    assert found.hosts == (("one", 1), ("two", 2))


def test_certificates_reach_the_connection() -> None:
    url = "rediss://host/1?ssl_ca_certs=/ca.pem&ssl_check_hostname=no&ssl_certfile=/own.pem"
    with connect(url) as client:
        found = client.connection_pool.connection_kwargs
    assert (found["ssl_ca_certs"], found["ssl_certfile"]) == ("/ca.pem", "/own.pem")
    assert found["ssl_check_hostname"] is False
    assert found["db"] == 1


@pytest.mark.parametrize("option", ["ssl_ca_certs", "ssl_ca_path", "ssl_keyfile"])
def test_a_file_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch, option: str) -> None:
    monkeypatch.setenv("QUEUE_MODE", "redis")
    monkeypatch.setenv("REDIS_URL", f"rediss://host?{option}=nowhere.pem")
    with pytest.raises(ConfigurationError, match=f"^REDIS_URL names {option}='nowhere.pem', which"):
        load_settings()


def test_a_password_is_read_for_every_connection(tmp_path: Path) -> None:
    """And the last one that was read serves while there is none to be read."""
    secret = tmp_path / "secret"
    secret.write_text("first\n")
    with connect("redis://clerk@host", str(secret)) as client:
        credentials = client.connection_pool.connection_kwargs["credential_provider"]
    assert credentials.get_credentials() == ("clerk", "first")
    secret.write_text("second")
    assert credentials.get_credentials() == ("clerk", "second")
    secret.write_text("")
    assert credentials.get_credentials() == ("clerk", "second")
    secret.unlink()
    assert credentials.get_credentials() == ("clerk", "second")
