"""Threads that meet an error nobody thought of: it is told, and all is well again by itself."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.eventually import eventually
from tests.support.ledgers import order

if TYPE_CHECKING:
    from tests.support.server import Server


@pytest.fixture(autouse=True)
def quick(server: Server) -> None:
    server.orderly.environment |= {"PAYMENT_WORKERS": "1", "REDRIVE_AFTER": "0.5"}


def execute(server: Server, statement: str) -> int:
    """Change the ledger from outside; return how many rows were changed."""
    with closing(sqlite3.connect(server.ledger, timeout=30)) as connection:
        changed = connection.execute(statement).rowcount
        connection.commit()
    return changed


def ready(server: Server) -> int:
    return server.client.get("/readyz").status_code


def test_the_housekeeping_goes_on_after_an_error_that_nobody_knows(server: Server) -> None:
    server.start()
    assert ready(server) == 200
    # A worker that was reported long ago, and that nobody can make sense of.
    odd = "UPDATE workers SET run_id = 'odd', seen_at = 0, meter = 'odd'"
    eventually(lambda: execute(server, odd) > 0, within=30, what="one was reported")
    eventually(lambda: ready(server) == 503, within=30, what="it says that it is not well")
    assert "JSONDecodeError" in server.client.get("/readyz").json()["detail"]
    assert server.place(order("a-1")).status_code == 202  # what can be done is done meanwhile
    server.settle()
    execute(server, "DELETE FROM workers WHERE run_id = 'odd'")
    eventually(lambda: ready(server) == 200, within=30, what="it is well again")
    assert len(server.logged(event="housekeeping failed")) == 1
    assert server.stop().code == 0


def test_the_sweep_finds_what_was_open_when_settling_failed(server: Server) -> None:
    server.start()
    rule = "BEFORE UPDATE ON cursors BEGIN SELECT RAISE(ABORT, 'odd'); END"
    execute(server, f"CREATE TRIGGER strange {rule}")
    assert server.place(order("a-1")).status_code == 202
    eventually(lambda: ready(server) == 503, within=30, what="the sweep fails, too")
    execute(server, "DROP TRIGGER strange")
    server.settle()
    assert server.status("a-1") == "paid"
    assert server.stop().code == 0


def test_a_generator_that_fails_says_why(server: Server) -> None:
    server.start()
    execute(server, "UPDATE heads SET number = 'odd'")
    assert server.client.post("/generator", json={"orders": 10, "rate": 100}).status_code == 202

    def ended() -> dict[str, Any] | None:
        found: dict[str, Any] = server.client.delete("/generator").json()
        return None if found["running"] else found

    found = eventually(ended, within=30)
    assert found is not None
    assert "TypeError" in str(found["error"])
    eventually(lambda: server.logged(event="generator failed"), what="it is logged")
    execute(server, "UPDATE heads SET number = 0")
    assert server.place(order("a-1")).status_code == 202
    server.settle()
    assert server.stop().code == 0
