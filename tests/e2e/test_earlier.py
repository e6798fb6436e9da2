"""What an earlier version has made goes on with this one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.stack import Stack

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# The services' user was the superuser that the cluster is made with.
AS_IT_WAS = """
services:
  postgres:
    environment: {POSTGRES_USER: orderly, POSTGRES_DB: orderly}
    volumes: ["/dev/null:/docker-entrypoint-initdb.d/role.sql:ro"]
"""
SECRETS = {
    "redis_password": "of-redis",
    "redis.conf": "requirepass of-redis\n",
    "ledger_password": "of-the-ledger",
}
SET_ASIDE = "CREATE SCHEMA aside CREATE TABLE notes (id serial, day date)"
ROLES = "SELECT rolname, rolsuper FROM pg_roles WHERE rolname !~ '^pg_' ORDER BY rolname"
OWNERS = """
SELECT DISTINCT relowner::regrole::text
FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace
WHERE nspname !~ '^pg_' AND nspname <> 'information_schema'
UNION SELECT nspowner::regrole::text FROM pg_namespace WHERE nspname = 'aside'
"""


@pytest.fixture
def earlier(tmp_path: Path) -> Iterator[Stack]:
    """A project whose ledger and passwords an earlier version has made."""
    stack = Stack("redis")
    override = tmp_path / "earlier.yml"
    override.write_text(AS_IT_WAS)
    as_it_was = ("-f", "docker-compose.yml", "-f", str(override))
    try:
        stack.secrets.mkdir(parents=True, mode=0o700)
        for name, text in SECRETS.items():
            (stack.secrets / name).write_text(text)
            (stack.secrets / name).chmod(0o444)
        for arguments in (["build"], ["up", "--detach", "--wait", "postgres"], ["run", "migrate"]):
            done = stack.compose(*as_it_was, *arguments)
            assert done.code == 0, done
        assert stack.query(ROLES) == [("orderly", True)]
        done = stack.inside("postgres", "psql", "-U", "orderly", "-c", SET_ASIDE)
        assert done.code == 0, done
        yield stack
    finally:
        stack.close()


def test_a_superuser_of_the_ledger_becomes_a_plain_user_who_has_all_of_it(earlier: Stack) -> None:
    said = earlier.up().out
    assert "the ledger's user orderly, a superuser until now, is none any more" in said
    assert earlier.query(ROLES) == [("orderly", False), ("postgres", True)]
    assert earlier.query(OWNERS) == [("orderly",)]
    assert "user default on" in (earlier.secrets / "redis.conf").read_text()
    earlier.orderly.assert_serial()
