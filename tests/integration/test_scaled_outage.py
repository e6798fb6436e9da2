"""Redis mode while PostgreSQL is away for long, or frozen: who waits lives, and ends when told."""

from __future__ import annotations

import signal
import time
from typing import TYPE_CHECKING

import pytest

from tests.support.eventually import eventually
from tests.support.ledgers import order
from tests.support.orderly import children_of, kill, workers_of
from tests.support.scaled import write_orders
from tests.support.server import Server

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.scaled import Scaled
    from tests.support.servers.postgres_server import PostgresServer

STALL_AFTER = 2.0


class Away:
    """A server that is stopped, or frozen: it takes connections and says nothing."""

    def __init__(self, server: PostgresServer, *, is_frozen: bool) -> None:
        self._server = server
        self._frozen: list[int] = []
        self._since = time.monotonic()
        if is_frozen:
            self._frozen = [server.pid, *children_of(server.pid)]
            for pid in self._frozen:
                kill(pid, signal.SIGSTOP)
        else:
            server.stop(kill=True)

    def has_lasted(self, seconds: float) -> bool:
        return time.monotonic() - self._since > seconds

    def end(self) -> None:
        for pid in self._frozen:
            kill(pid, signal.SIGCONT)
        if not self._frozen and not self._server.is_running:
            self._server.start()


@pytest.fixture(params=["stopped", "frozen"])
def away(request: pytest.FixtureRequest, own_postgres: PostgresServer) -> Iterator[type[Away]]:
    begun: list[Away] = []

    class Begun(Away):
        def __init__(self) -> None:
            super().__init__(own_postgres, is_frozen=request.param == "frozen")
            begun.append(self)

    yield Begun
    for each in begun:
        each.end()


@pytest.mark.long
def test_workers_wait_for_the_ledger_for_as_long_as_it_takes(
    on_own_postgres: Scaled, away: type[Away]
) -> None:
    scaled = on_own_postgres
    scaled.environment["STALL_AFTER"] = str(STALL_AFTER)
    paying = scaled.pay(workers=2)
    file = write_orders(scaled.folder / "orders.jsonl", 200)
    scaled.produce(file)
    scaled.until_settled(200)
    outage = away()  # type: ignore[call-arg]
    lost = workers_of(paying.pid)[0]
    kill(lost)  # so that one has to begin while the ledger is away
    eventually(lambda: outage.has_lasted(2.5 * STALL_AFTER), within=30)
    there = workers_of(paying.pid)
    assert len(there) == 2
    assert lost not in there
    assert scaled("healthcheck", "pay").code != 0
    eventually(lambda: outage.has_lasted(3.5 * STALL_AFTER), within=30)
    assert workers_of(paying.pid) == there, "who waits is not taken for stuck"
    outage.end()
    scaled.produce(write_orders(scaled.folder / "more.jsonl", 200, name="p"))
    scaled.until_settled(400)
    said = scaled.stop(paying)
    assert "worker waits for the ledger" in said
    assert "Traceback" not in said
    assert len(scaled.assert_serial().status) == 400


@pytest.mark.long
def test_a_signal_ends_it_although_the_ledger_is_away(
    on_own_postgres: Scaled, away: type[Away]
) -> None:
    scaled = on_own_postgres
    paying = scaled.pay(workers=1)
    server = Server(scaled)
    try:
        server.start()
        assert server.place(order("a-1")).status_code == 202
        away()  # type: ignore[call-arg]
        eventually(lambda: server.client.get("/readyz").status_code == 503, within=30)
        kill(paying.pid, signal.SIGTERM)
        ended = server.stop()
        _, said = paying.communicate(timeout=40)
        assert (ended.code, paying.returncode) == (3, 3), (ended.err, said)
        for told in (ended.err, said):
            assert "Traceback" not in told
            assert "what was accepted is kept" in told.splitlines()[-1]
    finally:
        server.close()
