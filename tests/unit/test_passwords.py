"""Passwords that lie in files: they come into their URLs, and show nowhere."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import redis
from sqlalchemy.engine import make_url

from shared.environment import load_settings
from shared.errors import ConfigurationError
from shared.settings import Settings
from tests.support.server import TOKEN

if TYPE_CHECKING:
    from pathlib import Path

    Env = pytest.MonkeyPatch

PASSWORD = " a:b@c/d%e?f#g'hé "  # noqa: S105  the tests' own
LEDGER = "postgresql://clerk@db.example/orders"
BOTH = ["LEDGER_PASSWORD_FILE", "REDIS_PASSWORD_FILE"]


@pytest.fixture(autouse=True)
def redis_mode(monkeypatch: Env) -> None:
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setenv("QUEUE_MODE", "redis")
    monkeypatch.setenv("LEDGER_URL", LEDGER)


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    """A file as an editor leaves it."""
    path = tmp_path / "secret"
    path.write_text(f"{PASSWORD}\n", encoding="utf-8")
    return path


def test_the_ledger_gets_its_password_letter_by_letter(monkeypatch: Env, secret: Path) -> None:
    monkeypatch.setenv("LEDGER_PASSWORD_FILE", str(secret))
    url = make_url(load_settings().ledger_url)
    assert (url.username, url.password, url.host) == ("clerk", PASSWORD, "db.example")


@pytest.mark.parametrize(
    "url", ["redis://queue.example/1", "redis://clerk:old@queue.example/1", "rediss://:old@q/1"]
)
def test_redis_gets_its_password_letter_by_letter(monkeypatch: Env, secret: Path, url: str) -> None:
    monkeypatch.setenv("REDIS_URL", url)
    monkeypatch.setenv("REDIS_PASSWORD_FILE", str(secret))
    with redis.Redis.from_url(load_settings().redis_url) as client:
        found = client.connection_pool.connection_kwargs
    assert (found["password"], found["db"]) == (PASSWORD, 1)
    assert found.get("username") == ("clerk" if "clerk" in url else None)


def test_a_url_that_was_only_completed_still_counts_as_not_given(
    monkeypatch: Env, secret: Path
) -> None:
    monkeypatch.setenv("REDIS_PASSWORD_FILE", str(secret))
    settings = load_settings()
    assert settings.given("ledger_url")
    assert not settings.given("redis_url")


@pytest.mark.parametrize("name", BOTH)
@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "cannot be read: No such file or directory"),
        (b"", "is empty"),
        (b"\r\n", "is empty"),
        (b"geh\xffeim", "cannot be read: it is not UTF-8"),
    ],
)
def test_a_file_that_holds_no_password_is_named(
    monkeypatch: Env, secret: Path, name: str, content: bytes | None, words: str
) -> None:
    secret.unlink()
    if content is not None:
        secret.write_bytes(content)
    monkeypatch.setenv(name, str(secret))
    with pytest.raises(ConfigurationError) as caught:
        load_settings()
    assert str(caught.value) == f"{name}={str(secret)!r} {words}"


@pytest.mark.parametrize("name", BOTH)
def test_a_folder_is_no_password(monkeypatch: Env, tmp_path: Path, name: str) -> None:
    monkeypatch.setenv(name, str(tmp_path))
    with pytest.raises(ConfigurationError, match=f"^{name}=.* cannot be read: Is a directory"):
        load_settings()


def test_what_needs_no_password_reads_no_file(monkeypatch: Env) -> None:
    for name in BOTH:
        monkeypatch.setenv(name, "no-such-file")
    monkeypatch.setenv("QUEUE_MODE", "local")
    monkeypatch.setenv("LEDGER_URL", "sqlite:///orderly.db")
    assert load_settings().ledger_url == "sqlite:///orderly.db"


@pytest.mark.parametrize("content", [TOKEN, f"{TOKEN}\n", ""])
def test_the_token_may_be_in_a_file(monkeypatch: Env, secret: Path, content: str) -> None:
    secret.write_text(content)
    monkeypatch.setenv("API_TOKEN_FILE", str(secret))
    assert load_settings().api_token.get_secret_value() == content.strip()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "cannot be read: No such file or directory"),
        ("two words", "must consist of A-Z"),
        ("geh\N{LATIN SMALL LETTER E WITH ACUTE}im", "must consist of A-Z"),
    ],
)
def test_a_file_that_holds_no_token_is_named_and_not_what_is_in_it(
    monkeypatch: Env, secret: Path, content: str | None, words: str
) -> None:
    secret.unlink()
    if content is not None:
        secret.write_text(content, encoding="utf-8")
    monkeypatch.setenv("API_TOKEN_FILE", str(secret))
    with pytest.raises(ConfigurationError) as raised:
        load_settings()
    assert str(raised.value).startswith(f"API_TOKEN_FILE={str(secret)!r} {words}")
    assert content is None or content not in str(raised.value)


def test_two_tokens_are_one_too_many(monkeypatch: Env, secret: Path) -> None:
    monkeypatch.setenv("API_TOKEN_FILE", str(secret))
    monkeypatch.setenv("API_TOKEN", TOKEN)
    with pytest.raises(ConfigurationError, match="and API_TOKEN are both set; unset one") as raised:
        load_settings()
    assert TOKEN not in str(raised.value)
