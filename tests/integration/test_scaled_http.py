"""`orderly serve` in redis mode: it takes orders in, and others pay them, come and go."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from services.pipeline.worker_stats import STATES
from tests.integration.test_chaos import assert_nothing_runs
from tests.integration.test_http_metrics import assert_cumulative, scrape
from tests.support.eventually import eventually
from tests.support.gateways import hold
from tests.support.ledgers import order
from tests.support.orderly import kill, workers_of
from tests.support.server import Server, lines, problem_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.integration.test_http_metrics import Samples
    from tests.support.scaled import Scaled
    from tests.support.servers.postgres_server import PostgresServer

SETTLED = ("orderly_settlement_batch_orders_sum",)
REPLACED = ("orderly_workers_replaced_total",)


class RedisMonitor:
    """Scrapes a service, and holds every sum of the workers to growing."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._last: Samples = {}

    def scrape(self) -> Samples:
        now = scrape(self._server)
        for key, value in now.items():
            if key[0].startswith(("orderly_settlement", "orderly_deliveries", *REPLACED)):
                assert value >= self._last.get(key, 0), key
        self._last = now
        return now

    def until(self, key: tuple[str, ...], value: float) -> Samples:
        """Wait until a sum has come to a value, but not beyond: workers report now and then."""
        eventually(lambda: self.scrape()[key] >= value, within=30, what=f"{key} is {value}")
        assert self._last[key] == value
        return self._last

    def place(self, name: str) -> None:
        """Place a hundred orders, and wait for them to be paid."""
        sent = lines(order(f"{name}-{number}", f"c-{number}", 1) for number in range(100))
        assert {each["code"] for each in self._server.bulk(sent)} == {202}
        self._server.settle()


@pytest.mark.long
def test_what_workers_have_measured_is_kept_though_they_come_and_go(
    scaled: Scaled, scaled_server: Server
) -> None:
    server = scaled_server.start()
    watch = RedisMonitor(server)
    fresh = watch.scrape()
    assert (fresh[SETTLED], fresh[REPLACED]) == (0, 0)
    assert sum(fresh["orderly_workers", each] for each in STATES) == 0

    paying = scaled.pay(2)
    watch.place("first")
    found = watch.until(SETTLED, 100)
    assert sum(found["orderly_workers", each] for each in STATES) == 2
    scaled.stop(paying)
    found = watch.scrape()
    assert (found[SETTLED], found["orderly_settlement_latency_seconds_count",]) == (100, 100)
    assert sum(found["orderly_workers", each] for each in STATES) == 0

    paying = scaled.pay(1)
    kill(workers_of(paying.pid)[0])
    watch.until(REPLACED, 1)
    watch.place("second")
    watch.until(SETTLED, 200)
    kill(paying.pid)  # without a word to anybody
    paying.communicate()
    assert_nothing_runs(paying)
    assert watch.scrape()[SETTLED] == 200

    paying = scaled.pay(1)
    watch.place("third")
    found = watch.until(SETTLED, 300)
    assert found["orderly_settlement_latency_seconds_count",] == 300
    assert (found[REPLACED], found["orderly_orders_settled_total", "paid"]) == (1, 300)
    assert_cumulative(server)
    scaled.stop(paying)


@pytest.mark.long
def test_a_signal_ends_the_requests_and_leaves_the_rest_to_who_pays(
    scaled: Scaled, scaled_server: Server
) -> None:
    go = hold(scaled)
    server = scaled_server.start()
    paying = scaled.pay(1)
    assert {each["code"] for each in server.bulk(lines(map(order, "abcdefg")))} == {202}
    ended = server.stop()
    assert ended.code == 0, ended
    assert "ending requests; a second signal stops at once" in ended.err
    assert "created 7 = paid 0 + declined 0 + dead 0 + open 7" in ended.err
    assert_nothing_runs(server.process)
    go.touch()
    scaled.until_settled(7)
    scaled.stop(paying)
    assert scaled.assert_serial().count("paid") == 7


@pytest.fixture
def apart(on_own_postgres: Scaled) -> Iterator[Server]:
    """A service whose ledger's server may be stopped."""
    server = Server(on_own_postgres)
    yield server
    server.close()


@pytest.mark.long
def test_while_the_ledgers_server_is_away_orders_are_refused_and_not_kept(
    apart: Server, own_postgres: PostgresServer
) -> None:
    server = apart.start()
    assert server.place(order("before")).status_code == 202
    own_postgres.stop()
    with ThreadPoolExecutor(4) as senders:  # each waits a while for the ledger
        placed = senders.submit(server.place, order("during"))
        many = senders.submit(server.bulk, lines([order("line")]))
        asked = senders.submit(server.client.get, "/orders/before")
        scraped = senders.submit(scrape, server)
        assert server.client.get("/healthz").json() == {"status": "ok"}
    problem_of(placed.result(), 503, "ledger-unavailable")
    assert int(placed.result().headers["retry-after"]) >= 1
    assert [each["code"] for each in many.result()] == [503]
    problem_of(asked.result(), 503, "ledger-unavailable")
    assert scraped.result()["orderly_ledger_up",] == 0
    eventually(lambda: server.client.get("/readyz").status_code == 503, within=30)

    own_postgres.start()
    eventually(lambda: server.client.get("/readyz").status_code == 200, within=30)
    assert server.client.get("/orders/before").json()["status"] == "open"
    for refused in "during", "line":
        assert server.client.get(f"/orders/{refused}").status_code == 404
    assert server.place(order("during")).status_code == 202
    assert server.stop().code == 0
    assert server.orderly.json("run", "--workers", "1")["recovered"] == 2
    assert set(server.orderly.assert_serial().status) == {"before", "during"}
