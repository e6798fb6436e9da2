"""Threads that meet an error nobody thought of: it is told, and all is well again by itself."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest

from tests.books import order
from tests.eventually import eventually

if TYPE_CHECKING:
    from tests.server import Server


@pytest.fixture(autouse=True)
def quick(server: Server) -> None:
    server.orderly.environment |= {"PAYMENT_WORKERS": "1", "REDRIVE_AFTER": "0.5"}


def execute(server: Server, statement: str) -> None:
    with closing(sqlite3.connect(server.ledger, timeout=30)) as connection:
        connection.execute(statement)
        connection.commit()


def break_writing(server: Server, what: str) -> None:
    """Have the database refuse writes with an error that means nothing to anybody."""
    execute(server, f"CREATE TRIGGER strange BEFORE {what} BEGIN SELECT RAISE(ABORT, 'odd'); END")


def mend(server: Server) -> None:
    execute(server, "DROP TRIGGER strange")


def ready(server: Server) -> int:
    return server.client.get("/readyz").status_code


def test_the_housekeeping_goes_on_after_an_error_that_nobody_knows(server: Server) -> None:
    server.start()
    assert ready(server) == 200
    break_writing(server, "INSERT ON workers")
    eventually(lambda: ready(server) == 503, within=30, what="it says that it is not well")
    assert "odd" in server.client.get("/readyz").json()["detail"]
    assert server.place(order("a-1")).status_code == 202  # what can be done is done meanwhile
    server.settle()
    mend(server)
    eventually(lambda: ready(server) == 200, within=30, what="it is well again")
    assert len(server.logged(event="housekeeping failed")) == 1
    assert server.stop().code == 0


def test_the_sweep_finds_what_was_open_when_settling_failed(server: Server) -> None:
    server.start()
    break_writing(server, "UPDATE ON cursors")
    assert server.place(order("a-1")).status_code == 202
    eventually(lambda: server.logged(event="housekeeping failed"), within=30)
    mend(server)
    server.settle()
    assert server.status("a-1") == "paid"
    assert server.stop().code == 0


def test_a_generator_that_fails_says_why(server: Server) -> None:
    server.start()
    break_writing(server, "INSERT ON journal")
    assert server.client.post("/generator", json={"orders": 10, "rate": 100}).status_code == 202

    def ended() -> dict[str, Any] | None:
        found: dict[str, Any] = server.client.delete("/generator").json()
        return None if found["running"] else found

    found = eventually(ended, within=30)
    assert found is not None
    assert "odd" in str(found["error"])
    eventually(lambda: server.logged(event="generator failed"), what="it is logged")
    mend(server)
    assert server.place(order("a-1")).status_code == 202
    server.settle()
    assert server.stop().code == 0
