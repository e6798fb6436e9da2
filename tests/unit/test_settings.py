"""Settings: what the environment may say, and what an operator is told where it may not."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

import pytest

from services.payment.load_gateway import load_gateway
from shared.environment import load_settings
from shared.errors import ConfigurationError
from shared.passwords import mask_password
from shared.settings import Settings, parse_faults

if TYPE_CHECKING:
    from pathlib import Path

    Env = pytest.MonkeyPatch

BOTH_LEDGERS = ["like sqlite:///", "postgresql://"]


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: Env) -> None:
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)


def refusal(monkeypatch: Env, **environment: str) -> str:
    """What is said to an environment that cannot be used."""
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigurationError) as caught:
        load_gateway(load_settings())
    text = str(caught.value)
    assert len(text.splitlines()) == 1
    return text


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("QUEUE_MODE", "kafka", ["'kafka'", "local or redis"]),
        ("QUEUE_MODE", "LOCAL", ["'LOCAL'", "local or redis"]),
        ("LOG_FORMAT", "xml", ["'xml'", "auto or json or console"]),
        ("PAYMENT_WORKERS", "0", ["=0 must be 1 to 64 in local mode", "redis mode"]),
        ("PAYMENT_WORKERS", "-1", ["'-1'", "greater than or equal to 0"]),
        ("PAYMENT_WORKERS", "65", ["'65'", "less than or equal to 64"]),
        ("PAYMENT_WORKERS", "many", ["'many'", "valid integer"]),
        ("PARTITIONS", "1.5", ["'1.5'", "valid integer"]),
        ("PARTITIONS", "-16", ["'-16'", "greater than or equal to 1"]),
        ("BATCH_SIZE", "0", ["'0'", "greater than or equal to 1"]),
        ("MAX_PENDING", "1e6", ["'1e6'", "valid integer"]),
        ("MAX_ATTEMPTS", "0", ["'0'", "greater than or equal to 1"]),
        ("OPENING_BALANCE", "-1", ["'-1'", "greater than or equal to 0"]),
        ("OPENING_BALANCE", "1" + "0" * 16, ["less than or equal to 1000000000000000"]),
        ("REDRIVE_AFTER", "soon", ["'soon'", "valid number"]),
        ("REDRIVE_AFTER", "nan", ["'nan'"]),
        ("STALL_AFTER", "0", ["'0'", "greater than or equal to 0.5"]),
        ("LEDGER_URL", "orderly.db", ["'orderly.db'", *BOTH_LEDGERS]),
        ("LEDGER_URL", "sqlite://", ["must name a file"]),
        ("LEDGER_URL", "sqlite://var/orderly.db", ["two slashes", "sqlite:///PATH"]),
        ("LEDGER_URL", "sqlite:///:memory:", ["must name a file"]),
        ("LEDGER_URL", "mysql://host/orders", ["names mysql", *BOTH_LEDGERS]),
        ("LEDGER_URL", "postgresql://host:port/orders", BOTH_LEDGERS),
        ("LEDGER_URL", "postgresql://host", ["must name a database"]),
        ("REDIS_URL", "localhost:6379", ["not a URL like redis://"]),
        ("REDIS_URL", "redis://", ["not a URL like redis://"]),
        ("REDIS_URL", "redis://host:port/0", ["not a URL like redis://"]),
        ("REDIS_URL", "unix://", ["not a URL like redis://"]),
        ("REDIS_URL", "redis://host:0/0", ["not a URL like redis://"]),
        ("REDIS_URL", "redis://host:99999", ["not a URL like redis://"]),
        ("REDIS_URL", "redis+sentinel://host", ["names no primary", "/mymaster/0"]),
        ("REDIS_URL", "redis+sentinel://host:1,/tills", ["not a URL like redis://"]),
        ("REDIS_URL", "redis://one,two/0", ["several servers", "redis+sentinel://"]),
        ("REDIS_URL", "redis://host/first", ["the database 'first'"]),
        ("REDIS_URL", "redis://host/0/1", ["'/0/1', which is no database"]),
        ("REDIS_URL", "redis://host?ssl_ca_certs=a", ["belongs to TLS: begin it with rediss"]),
        ("REDIS_URL", "rediss://host?ssl_ca=a", ["the option 'ssl_ca'", "ssl_ca_certs"]),
        ("REDIS_URL", "rediss://host?ssl_check_hostname=maybe", ["true or false"]),
        ("REDIS_URL", "rediss://host?ssl_cert_reqs=some", ["required, optional or none"]),
        ("REDIS_URL", "redis://host?protocol=1", ["2 or 3"]),
        ("PAYMENT_GATEWAY", "json", ["'json'", "module:attribute"]),
        ("PAYMENT_GATEWAY", "bank of mine:Gateway", ["module:attribute"]),
        ("PAYMENT_GATEWAY", "no_such_module:Gateway", ["No module named 'no_such_module'"]),
        ("PAYMENT_GATEWAY", "json:Gateway", ["module 'json' has no attribute 'Gateway'"]),
        ("PAYMENT_GATEWAY", "ftp://host", ["not a URL like http://"]),
        ("PAYMENT_GATEWAY", "http://", ["not a URL like http://"]),
        ("PAYMENT_GATEWAY", "http://host:0", ["not a URL like http://"]),
        ("PAYMENT_GATEWAY", "http://host:99999", ["not a URL like http://"]),
        ("PAYMENT_GATEWAY", "http://[::1", ["not a URL like http://"]),
        ("PAYMENT_GATEWAY", "http://host/a b", ["not a URL like http://"]),
        ("PAYMENT_GATEWAY", "http://host?", ["a query or a fragment; leave it out"]),
        ("PAYMENT_GATEWAY", "http://host/#pay", ["a query or a fragment; leave it out"]),
        ("PAYMENT_GATEWAY", "json:loads", ["has no method charge(charge)"]),
        ("PAYMENT_GATEWAY", "json:JSONDecoder", ["has no method charge(charge)"]),
        ("GATEWAY_FAULTS", "0.05", ["transient=, permanent= and seed=, not '0.05'"]),
        ("GATEWAY_FAULTS", "sometimes=0.5", ["transient=, permanent= and seed="]),
        ("GATEWAY_FAULTS", "transient=often", ["needs a number for transient, not 'often'"]),
        ("GATEWAY_FAULTS", "transient=", ["needs a number for transient, not ''"]),
        ("GATEWAY_FAULTS", "seed=1.5", ["needs a number for seed, not '1.5'"]),
        ("GATEWAY_FAULTS", "transient=1.5", ["shares from 0 to 1"]),
        ("GATEWAY_FAULTS", "transient=nan", ["shares from 0 to 1"]),
        ("GATEWAY_FAULTS", "permanent=-0.1", ["shares from 0 to 1"]),
        ("GATEWAY_FAULTS", "transient=0.6,permanent=0.6", ["add up to at most 1"]),
    ],
)
def test_an_unusable_setting_is_named_with_its_value_and_what_it_may_be(
    monkeypatch: Env, name: str, value: str, words: list[str]
) -> None:
    text = refusal(monkeypatch, **{name: value})
    assert text.startswith(f"{name}=")
    assert all(word in text for word in words), text


@pytest.mark.parametrize("userinfo", ["geheim", "geheim:", ":geheim", "ada:ge@heim", "ada:ge/heim"])
@pytest.mark.parametrize("name", ["PAYMENT_GATEWAY", "BANK_URL"])
def test_credentials_in_a_backends_url_are_refused_and_not_shown(
    monkeypatch: Env, name: str, userinfo: str
) -> None:
    text = refusal(monkeypatch, **{name: f"https://{userinfo}@host/pay"})
    assert "geheim" not in text
    assert "heim" not in text
    assert "@host/pay" in text


def test_a_backend_is_told_where_its_token_belongs(monkeypatch: Env) -> None:
    text = refusal(monkeypatch, PAYMENT_GATEWAY="https://geheim@host/pay")
    assert "has credentials in it" in text
    assert "GATEWAY_TOKEN_FILE" in text


@pytest.mark.parametrize(
    ("given", "known"),
    [
        ("http://127.0.0.1:8100", "http://127.0.0.1:8100"),
        ("HTTPS://Pay.Example.COM/V1//", "https://pay.example.com/V1"),
        ("http://[::1]:80/", "http://[::1]:80"),
    ],
)
def test_a_backend_has_one_name_however_its_url_is_written(
    monkeypatch: Env, given: str, known: str
) -> None:
    monkeypatch.setenv("PAYMENT_GATEWAY", given)
    assert load_settings().payment_gateway == known


def test_every_unusable_setting_is_named_at_once(monkeypatch: Env) -> None:
    text = refusal(monkeypatch, QUEUE_MODE="kafka", PARTITIONS="x", BATCH_SIZE="0")
    assert all(f"{name}=" in text for name in ("QUEUE_MODE", "PARTITIONS", "BATCH_SIZE"))


@pytest.mark.parametrize("name", ["LEDGER_URL", "REDIS_URL"])
@pytest.mark.parametrize(
    "url",
    [
        "mysql://clerk:geheim@host/orders",
        "mysql://clerk:ge@heim@host/orders",
        "mysql://clerk:ge/heim@host/orders",
        "mysql://:geheim@host/orders",
        "postgresql://clerk:geheim@host:port/orders",
        "nonsense://clerk:geheim@[/orders",
    ],
)
def test_a_password_never_shows_in_a_message(monkeypatch: Env, name: str, url: str) -> None:
    text = refusal(monkeypatch, **{name: url})
    assert f"{name}=" in text
    assert "***@" in text
    assert "heim" not in text


@pytest.mark.parametrize(
    "text", ["sqlite:///var/orderly.db", "sqlite:////tmp/a@b/c:d.db", "mysql://clerk@host:3306/x"]
)
def test_a_url_without_a_password_is_shown_as_it_is(text: str) -> None:
    assert mask_password(text) == text


UNESCAPED = [
    "ge@heim",
    "@geheim@",
    "ge/heim",
    "ge:heim",
    "ge#heim",
    "ge?heim",
    "ge heim",
    "ge%heim",
]


@pytest.mark.parametrize("word", UNESCAPED)
@pytest.mark.parametrize(
    ("before", "behind"),
    [
        ("postgresql://clerk:", "@db.example/orders"),
        ("postgresql://:", "@db.example:5432,db2.example/orders?sslmode=require"),
        ("redis://:", "@queue.example:6379/0"),
        ("unix://clerk:", "@/run/redis.sock"),
    ],
)
def test_a_password_is_hidden_as_a_whole(word: str, before: str, behind: str) -> None:
    assert mask_password(before + word + behind) == f"{before}***{behind}"


@pytest.mark.parametrize(
    "text",
    [
        "postgresql://clerk@shop:ge@heim@db.example/orders",
        "postgresql:/clerk:ge@heim@db.example/orders",
        "clerk:ge/heim@db.example/orders",
        "host=db.example password='ge heim' user=clerk",
        "host=db.example sslpassword = geheim user=clerk",
        "postgresql://db.example/orders?password=ge&heim&user=clerk",
        "redis://queue.example/0?PASSWORD=ge@heim",
    ],
)
def test_what_was_meant_to_be_a_url_shows_no_password_either(text: str) -> None:
    masked = mask_password(text)
    assert "***" in masked
    assert "example" in masked
    assert not any(part in masked for part in ("ge@", "ge ", "ge/", "heim"))


@pytest.mark.parametrize("word", UNESCAPED)
def test_a_password_is_meant_as_it_stands(monkeypatch: Env, word: str) -> None:
    monkeypatch.setenv("LEDGER_URL", f"postgresql://clerk:{word}@db.example/orders")
    parts = urlsplit(load_settings().ledger_url)
    assert (parts.username, unquote(parts.password or "")) == ("clerk", word)
    assert (parts.hostname, parts.path) == ("db.example", "/orders")


@pytest.mark.parametrize(
    "text", ["postgres://h/d", "PostgreSQL://h/d", "postgresql+psycopg://h/d", "POSTGRES://h/d"]
)
def test_postgresql_goes_by_several_names(monkeypatch: Env, text: str) -> None:
    monkeypatch.setenv("LEDGER_URL", text)
    assert load_settings().ledger_url == "postgresql://h/d"


@pytest.mark.parametrize("driver", ["asyncpg", "psycopg2", "pg8000"])
def test_another_driver_is_named(monkeypatch: Env, driver: str) -> None:
    text = refusal(monkeypatch, LEDGER_URL=f"postgresql+{driver}://clerk:ge@heim@h/d")
    assert f"names the driver {driver}; leave it out: postgresql://" in text
    assert "heim" not in text


@pytest.mark.parametrize("mark", ["?", "&"])
def test_a_password_behind_the_question_mark_is_hidden_as_well(mark: str) -> None:
    text = f"postgresql://host/orders{mark}Password=geheim&sslpassword=geheim&user=clerk"
    assert mask_password(text) == (
        f"postgresql://host/orders{mark}Password=***&sslpassword=***&user=clerk"
    )


def test_a_gateway_module_that_fails_to_load_is_told_in_one_line(
    monkeypatch: Env, tmp_path: Path
) -> None:
    (tmp_path / "broken_gateway.py").write_text("raise RuntimeError('first\\nsecond')\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("PAYMENT_GATEWAY", "broken_gateway:Gateway")
    with pytest.raises(ConfigurationError, match=r"^PAYMENT_GATEWAY=.* RuntimeError: first"):
        load_gateway(load_settings())


def test_an_empty_variable_counts_as_not_set(monkeypatch: Env) -> None:
    monkeypatch.setenv("PARTITIONS", "")
    settings = load_settings()
    assert settings.partitions == 16
    assert not settings.given("partitions")


def test_an_option_of_the_command_comes_before_the_environment(monkeypatch: Env) -> None:
    monkeypatch.setenv("PAYMENT_WORKERS", "3")
    assert load_settings(payment_workers=None).payment_workers == 3
    assert load_settings(payment_workers=5).payment_workers == 5


def test_faults_that_are_not_named_are_zero() -> None:
    assert parse_faults("") == {"transient": 0, "permanent": 0, "seed": 0}
    assert parse_faults("transient=0.25, seed=7") == {"transient": 0.25, "permanent": 0, "seed": 7}
