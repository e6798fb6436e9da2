"""Servers that are given in the environment, by the same variables that the product reads."""

from __future__ import annotations

import os
from pathlib import Path

from sqlalchemy.engine import make_url


def given_postgres() -> str | None:
    """Return the URL of a PostgreSQL server that is given; a ledger in a file is none."""
    url = _given("LEDGER")
    return url if url and make_url(url).get_backend_name() == "postgresql" else None


def given_redis() -> str | None:
    """Return the URL of a Redis server that is given."""
    return _given("REDIS")


def _given(name: str) -> str | None:
    """Read a URL, and put in the password that a file may have."""
    url, file = os.environ.get(f"{name}_URL"), os.environ.get(f"{name}_PASSWORD_FILE")
    if not url or not file:
        return url or None
    secret = Path(file).read_text().rstrip("\r\n")
    address = make_url(url)
    # Redis has passwords without a user; a URL would lose one that has none at all.
    address = address.set(username=address.username or "", password=secret)
    return address.render_as_string(hide_password=False)
