"""Redis mode: the pipeline over RQ, with its ledger in PostgreSQL that syncs every commit.

The servers are those that the tests find, on the same cores.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from benchmarks.http import latencies, serving, trickle
from benchmarks.measure import on_servers
from tests.support.servers.postgres_server import PostgresServer
from tests.support.servers.redis_server import RedisServer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.measure import Environment

LONE_RATE = 10.0
LONE_ORDERS = 100


class Servers:
    """A Redis and a PostgreSQL server."""

    def __init__(self, redis: RedisServer, postgres: PostgresServer) -> None:
        self._redis = redis
        self._postgres = postgres

    def place(self) -> Environment:
        """The environment of commands that share an empty ledger."""
        return on_servers(self._postgres.new_database(), self._redis.url)


@contextmanager
def servers() -> Iterator[Servers]:
    """Start both, and end them."""
    redis = RedisServer()
    try:
        postgres = PostgresServer(is_durable=True)
        try:
            yield Servers(redis, postgres)
        finally:
            postgres.close()
    finally:
        redis.close()


def lone_orders(place: Environment, workers: int, seed: int) -> list[float]:
    """Post orders so slowly that each is alone; seconds until each was settled, sorted."""
    with serving(place, workers) as port:
        trickle(port, LONE_ORDERS, LONE_RATE, seed)
    return latencies(place, LONE_ORDERS)
