"""Settings: validated and frozen; ``shared.environment`` reads them.

Every variable is documented in README.md; ``orderly config`` prints what is in force.
"""

from __future__ import annotations

import re
from typing import Annotated, Literal
from urllib.parse import parse_qs, urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from shared.gateway_urls import FORMS, parse_gateway_url
from shared.passwords import escape_password
from shared.redis_urls import parse_redis_url

QueueMode = Literal["local", "redis"]
DEFAULT_LEDGER_URL = "sqlite:///var/orderly.db"
_LEDGER_URLS = "sqlite:///PATH or postgresql://USER@HOST/DATABASE"
_HOST = r"(\[[^\]]*\]|[^:\[\]]*)(:\d*)?"


def _ledger_url(value: str) -> str:
    scheme, mark, rest = value.partition("://")
    kind, _, driver = scheme.lower().partition("+")
    if not mark:
        raise ValueError(f"is not a URL like {_LEDGER_URLS}")
    if kind in {"postgresql", "postgres"}:
        return _postgres_url(driver, rest)
    if kind != "sqlite":
        raise ValueError(f"names {kind}; choose a URL like {_LEDGER_URLS}")
    if "?" in rest:
        escaped = rest.replace("?", "%3F")
        raise ValueError(
            f"has a question mark, and SQLite takes no parameters; in a path it is written %3F: "
            f"sqlite://{escaped}"
        )
    try:
        url = make_url(value)
    except (ArgumentError, ValueError):
        raise ValueError(f"is not a URL like {_LEDGER_URLS}") from None
    if url.host:
        raise ValueError("has two slashes where a path begins after three: sqlite:///PATH")
    if not url.database or url.database == ":memory:" or url.query:
        raise ValueError("must name a file, which several processes share: sqlite:///PATH")
    return value


def _postgres_url(driver: str, rest: str) -> str:
    """Return the URL as libpq reads it, which knows no drivers."""
    if driver not in {"", "psycopg"}:
        raise ValueError(
            f"names the driver {driver}; leave it out: postgresql://USER@HOST/DATABASE"
        )
    value = escape_password(f"postgresql://{rest}")
    try:
        parts = urlsplit(value)
    except ValueError:  # an address in brackets that has only one of them
        raise ValueError(f"is not a URL like {_LEDGER_URLS}") from None
    if not re.fullmatch(rf"{_HOST}(,{_HOST})*", parts.netloc.rpartition("@")[2]):
        raise ValueError(f"is not a URL like {_LEDGER_URLS}")
    if not parts.path.strip("/") and not {"dbname", "service"} & parse_qs(parts.query).keys():
        raise ValueError("must name a database: postgresql://USER@HOST/DATABASE")
    return value


def _redis_url(value: str) -> str:
    value = escape_password(value)
    parse_redis_url(value)
    return value


def _gateway(value: str) -> str:
    if "://" in value:
        return parse_gateway_url(value)
    if value not in {"ledger", "bank"} and not re.fullmatch(r"[\w.]+:[\w.]+", value):
        raise ValueError(
            f"must be ledger, bank, a URL like {FORMS}, or module:attribute of one of your own"
        )
    return value


def _faults(value: str) -> str:
    parse_faults(value)
    return value


def _host(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9.:_-]+", value):
        raise ValueError("must be an address or a name of this machine, like 127.0.0.1")
    return value


def _hosts(value: str) -> str:
    for name in parse_hosts(value):
        if not re.fullmatch(r"[A-Za-z0-9._-]+|[0-9A-Fa-f:.]+", name):
            raise ValueError("must be names like shop.example.com, separated by commas")
    return value


def parse_hosts(text: str) -> list[str]:
    """Parse ``a.example,b.example``, each as ``plain_host`` has it."""
    return [plain_host(name.strip()) for name in text.split(",") if name.strip()]


def plain_host(name: str) -> str:
    """A host as it is compared: in lower case, without brackets and a last dot."""
    return name.lower().strip("[]").removesuffix(".")


def check_token(value: SecretStr) -> SecretStr:
    """Return a token, if it may be one.

    Raises:
        ValueError: Says what it may consist of.
    """
    if not re.fullmatch(r"[A-Za-z0-9._~+/=-]*", value.get_secret_value()):
        raise ValueError("must consist of A-Z a-z 0-9 . _ ~ + / = -")
    return value


def parse_faults(text: str) -> dict[str, float]:
    """Parse ``transient=0.05,permanent=0.01,seed=7``; what is not named is zero.

    Raises:
        ValueError: Says which part cannot be read.
    """
    faults = {"transient": 0.0, "permanent": 0.0, "seed": 0.0}
    for part in filter(None, text.split(",")):
        name, _, number = part.strip().partition("=")
        if name not in faults:
            raise ValueError(f"knows transient=, permanent= and seed=, not {name!r}")
        try:
            faults[name] = int(number) if name == "seed" else float(number)
        except ValueError:
            raise ValueError(f"needs a number for {name}, not {number!r}") from None
    shares = faults["transient"], faults["permanent"]
    if not all(0 <= share <= 1 for share in shares) or sum(shares) > 1:
        raise ValueError("needs shares from 0 to 1 that add up to at most 1")
    return faults


class Settings(BaseModel):
    """What can be set from outside, one environment variable a field, in capitals."""

    model_config = ConfigDict(frozen=True)

    queue_mode: Annotated[
        QueueMode, Field(description="what carries the orders from intake to the workers")
    ] = "local"
    ledger_url: Annotated[
        str, AfterValidator(_ledger_url), Field(description="the ledger's database")
    ] = DEFAULT_LEDGER_URL
    ledger_password_file: Annotated[
        str, Field(description="a file with the password for LEDGER_URL")
    ] = ""
    redis_url: Annotated[
        str, AfterValidator(_redis_url), Field(description="the queue's server, in redis mode")
    ] = "redis://127.0.0.1:6379/0"
    redis_password_file: Annotated[
        str, Field(description="a file with the password for REDIS_URL")
    ] = ""
    payment_workers: Annotated[int, Field(ge=0, le=64, description="payment workers to start")] = 2
    partitions: Annotated[
        int, Field(ge=1, le=1024, description="shares of the customers; fixed with the ledger")
    ] = 16
    batch_size: Annotated[
        int, Field(ge=1, le=10_000, description="most orders in a message and a settlement")
    ] = 200
    max_pending: Annotated[
        int, Field(ge=1, le=10**9, description="most open orders before intake waits")
    ] = 100_000
    max_attempts: Annotated[
        int, Field(ge=1, le=1000, description="gateway attempts before an order is dead")
    ] = 5
    redrive_after: Annotated[
        float, Field(ge=0.05, le=3600, description="seconds of silence before a partition's nudge")
    ] = 2.0
    stall_after: Annotated[
        float,
        Field(ge=0.5, le=3600, description="seconds without a sign of life before a worker goes"),
    ] = 5.0
    opening_balance: Annotated[
        int,
        Field(ge=0, le=10**15, description="minor units on a new account; fixed with the ledger"),
    ] = 100_000
    payment_gateway: Annotated[
        str,
        AfterValidator(_gateway),
        Field(description="ledger, bank, a backend's URL, or module:attribute of your own"),
    ] = "ledger"
    gateway_token_file: Annotated[
        str, Field(description="a file with the token for a gateway over HTTP")
    ] = ""
    gateway_ca_file: Annotated[
        str, Field(description="certificates that a gateway's over HTTPS is held against")
    ] = ""
    bank_url: Annotated[
        str, AfterValidator(parse_gateway_url), Field(description="where PAYMENT_GATEWAY=bank is")
    ] = "http://127.0.0.1:8100"
    gateway_faults: Annotated[
        str, AfterValidator(_faults), Field(description="transient=SHARE,permanent=SHARE,seed=N")
    ] = ""
    gateway_concurrency: Annotated[
        int, Field(ge=1, le=4096, description="most calls to an outside gateway, for each worker")
    ] = 256
    gateway_timeout: Annotated[
        float,
        Field(ge=0.05, le=600, description="seconds after which a gateway's answer is in doubt"),
    ] = 10.0
    http_host: Annotated[
        str, AfterValidator(_host), Field(description="address that orderly serve listens on")
    ] = "127.0.0.1"
    http_port: Annotated[
        int, Field(ge=0, le=65_535, description="port that orderly serve listens on; 0 is any")
    ] = 8000
    http_allowed_hosts: Annotated[
        str,
        AfterValidator(_hosts),
        Field(description="more names that orderly serve answers to, comma-separated"),
    ] = ""
    http_keep_alive: Annotated[
        int,
        Field(ge=1, le=3600, description="seconds that a connection may be idle between requests"),
    ] = 150
    api_token: Annotated[
        SecretStr,
        AfterValidator(check_token),
        Field(description="asked for where something is changed over HTTP; empty asks for none"),
    ] = SecretStr("")
    api_token_file: Annotated[
        str, Field(description="a file with the API_TOKEN; an empty one asks for none")
    ] = ""
    chaos: Annotated[
        bool, Field(description="whether workers may be killed and paused over HTTP, for a show")
    ] = False
    log_format: Annotated[
        Literal["auto", "json", "console"], Field(description="auto: console on a terminal")
    ] = "auto"

    @property
    def gateway_url(self) -> str | None:
        """Where the gateway is called over HTTP, if it is."""
        if self.payment_gateway == "bank":
            return self.bank_url
        return self.payment_gateway if "://" in self.payment_gateway else None

    @property
    def has_own_bank(self) -> bool:
        """Whether whoever pays runs the bank, too."""
        is_named = self.given("bank_url")
        return self.payment_gateway == "bank" and self.queue_mode == "local" and not is_named

    def given(self, name: str) -> bool:
        """Whether the setting was set at all, rather than left to its default."""
        return name in self.model_fields_set
