"""Reads the settings from the environment and from the files that it names.

It is apart from them because a worker gets its settings from its parent, and starts a tenth sooner
without the library that reads them.
"""

from __future__ import annotations

import os
import re
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from pydantic import SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from shared.errors import ConfigurationError
from shared.gateway_urls import mask_userinfo
from shared.passwords import mask_password, read_password, with_password
from shared.redis_urls import parse_redis_url
from shared.settings import Settings, check_token

_ALIKE = 0.84
"""How much two names have in common, of 1, so that one is taken for a slip in the other."""


# In those URLs a token may stand before the host, without a colon to tell it by.
_BACKENDS = {"PAYMENT_GATEWAY", "BANK_URL"}


class _Environment(Settings, BaseSettings):
    model_config = SettingsConfigDict(extra="ignore", env_ignore_empty=True)


def load_settings(**overrides: object) -> Settings:
    """Read the environment; ``overrides`` (command-line options) come first, None means unset.

    Passwords that lie in files are put into their URLs.

    Raises:
        ConfigurationError: Names every variable that is unusable, and what it may be.
    """
    given: dict[str, Any] = {name: value for name, value in overrides.items() if value is not None}
    try:
        found = _Environment(**given)
    except ValidationError as error:
        raise ConfigurationError("; ".join(map(_complaint, error.errors()))) from None
    settings = Settings.model_construct(found.model_fields_set, **dict(found))
    if settings.queue_mode == "local" and not settings.payment_workers:
        raise ConfigurationError(
            "PAYMENT_WORKERS=0 must be 1 to 64 in local mode; in redis mode 0 leaves the paying "
            "to workers elsewhere"
        )
    secret: dict[str, Any] = {}
    if settings.ledger_password_file and not settings.ledger_url.startswith("sqlite"):
        password = _password("LEDGER_PASSWORD_FILE", settings.ledger_password_file)
        secret["ledger_url"] = with_password(settings.ledger_url, password)
    if settings.queue_mode == "redis":
        _check_files(settings.redis_url)
    if settings.redis_password_file and settings.queue_mode == "redis":
        password = _password("REDIS_PASSWORD_FILE", settings.redis_password_file)
        secret["redis_url"] = with_password(settings.redis_url, password)
    if settings.api_token_file:
        secret["api_token"] = _token_of(settings)
    if settings.gateway_url and settings.gateway_token_file:
        _token_in("GATEWAY_TOKEN_FILE", settings.gateway_token_file)  # it is read when it is used
    if not secret:
        return settings
    filled = settings.model_copy(update=secret)
    filled.model_fields_set.difference_update(secret.keys() - settings.model_fields_set)
    return filled


def misspelled() -> list[str]:
    """Find variables that are no settings, and look so much like one that they are meant to be."""
    settings = [name.upper() for name in Settings.model_fields]
    return [
        f"{name} is no setting; is {alike[0]} meant?"
        for name in os.environ
        if name.upper() not in settings
        and (alike := get_close_matches(name.upper(), settings, n=1, cutoff=_ALIKE))
    ]


def _check_files(redis_url: str) -> None:
    """Find out that a certificate is missing before it counts as a server that is away."""
    for option, path in parse_redis_url(redis_url).files.items():
        try:
            Path(path).stat() if Path(path).is_dir() else Path(path).open("rb").close()
        except OSError as error:
            raise ConfigurationError(
                f"REDIS_URL names {option}={path!r}, which cannot be read: {error.strerror}"
            ) from None


def _password(variable: str, path: str) -> str:
    found = _content(variable, path)
    if not found:
        raise ConfigurationError(f"{variable}={path!r} is empty")
    return found


def _token_of(settings: Settings) -> SecretStr:
    path = settings.api_token_file
    if settings.api_token.get_secret_value():
        raise ConfigurationError(f"API_TOKEN_FILE={path!r} and API_TOKEN are both set; unset one")
    return _token_in("API_TOKEN_FILE", path)


def _token_in(variable: str, path: str) -> SecretStr:
    try:
        return check_token(SecretStr(_content(variable, path)))
    except ValueError as error:
        raise ConfigurationError(f"{variable}={path!r} {error}") from None


def _content(variable: str, path: str) -> str:
    try:
        return read_password(Path(path))
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise ConfigurationError(f"{variable}={path!r} cannot be read: {why}") from None


def _complaint(detail: Any) -> str:  # noqa: ANN401  pydantic's own TypedDict is looser still
    name = str(detail["loc"][0]).upper()
    given = detail["input"]
    if isinstance(given, str):
        given = (mask_userinfo if name in _BACKENDS else mask_password)(given)
    value = repr(given)
    if detail["type"] == "literal_error":
        choices = " or ".join(re.findall(r"'(\w+)'", detail["ctx"]["expected"]))
        return f"{name}={value} is not known; choose {choices}"
    if detail["type"] == "value_error":
        return f"{name}={value} {detail['ctx']['error']}"
    rule = detail["msg"].removeprefix("Input ").partition(",")[0]
    return f"{name}={value} {rule}"
