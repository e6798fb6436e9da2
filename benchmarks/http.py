"""``orderly serve`` under load: single orders, a stream of them, and a steady trickle."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import time
import urllib.request
from contextlib import contextmanager
from itertools import islice
from typing import TYPE_CHECKING

import sqlalchemy as sa

from benchmarks.http_load import post_at_rate, post_bulk, post_orders
from benchmarks.measure import COMMAND, ROOT, on_sqlite
from services.producer.sources import synthetic
from shared.ledger.database.database import Database
from shared.ledger.database.tables import journal, outcomes

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from benchmarks.http_load import Load
    from benchmarks.measure import Environment

CONNECTIONS = 64
RATE = 200.0
TRICKLE_SECONDS = 15


def single_orders(folder: Path, orders: int, workers: int, seed: int) -> Load:
    """Post orders one by one over many connections."""
    bodies = list(synthetic.encoded(orders, seed))
    with serving(on_sqlite(folder / "http.db"), workers) as port:
        return _all_accepted(post_orders(port, bodies, CONNECTIONS), orders)


def bulk_orders(folder: Path, orders: int, workers: int, seed: int) -> Load:
    """Post orders as one stream."""
    lines = list(synthetic.encoded(orders, seed))
    with serving(on_sqlite(folder / "http.db"), workers) as port:
        return _all_accepted(post_bulk(port, lines), orders)


def settlement_latencies(folder: Path, workers: int, seed: int) -> list[float]:
    """Post a steady trickle; return each order's seconds from acceptance to settlement, sorted."""
    place = on_sqlite(folder / "http.db")
    count = int(RATE * TRICKLE_SECONDS)
    with serving(place, workers) as port:
        trickle(port, count, RATE, seed)
    return latencies(place, count)


def trickle(port: int, count: int, rate: float, seed: int) -> None:
    """Post so many orders, each by itself, so many a second."""
    bodies = list(islice(synthetic.encoded(count, seed), count))
    _all_accepted(post_at_rate(port, bodies, rate), count)


def latencies(place: Environment, count: int) -> list[float]:
    """Read each order's seconds from acceptance to settlement from the ledger, sorted."""
    database = Database(place["LEDGER_URL"])
    took = sa.select(outcomes.c.settled_at - journal.c.accepted_at).join(
        journal,
        sa.and_(
            journal.c.partition == outcomes.c.partition,
            outcomes.c.number.between(journal.c.first, journal.c.last),
        ),
    )
    found = sorted(
        micros / 1e6 for micros in database.ask(lambda c: c.execute(took).scalars().all())
    )
    database.close()
    if len(found) != count:
        raise SystemExit(f"{count} orders were accepted, and {len(found)} settled")
    return found


def _wait_for_workers(url: str, workers: int) -> None:
    """Wait until every worker is there: their start is measured by itself."""
    states: list[str] = []
    while states.count("idle") < workers:
        with urllib.request.urlopen(f"{url}/status") as answer:
            states = [worker["state"] for worker in json.load(answer)["workers"]]
        time.sleep(0.05)


def _all_accepted(load: Load, orders: int) -> Load:
    if load.codes != {202: orders}:
        raise SystemExit(f"not every order was accepted: {dict(load.codes)}")
    return load


@contextmanager
def serving(place: Environment, workers: int) -> Iterator[int]:
    """Run the service, and yield its port; at the end it settles what it accepted."""
    service = subprocess.Popen(
        [*COMMAND, "serve", "--port", "0", "--workers", str(workers)],
        cwd=ROOT,
        env=place,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert service.stderr is not None  # noqa: S101
    drain = None
    try:
        match = re.search(r"http://127\.0\.0\.1:(\d+)", service.stderr.readline())
        if match is None:
            raise SystemExit("orderly serve did not start")
        drain = subprocess.Popen(["cat"], stdin=service.stderr, stdout=subprocess.DEVNULL)
        _wait_for_workers(match[0], workers)
        yield int(match[1])
    finally:
        service.send_signal(signal.SIGTERM)
        service.wait()
        if drain is not None:
            drain.wait()
