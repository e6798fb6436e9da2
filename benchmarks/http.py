"""``orderly serve`` under load: single orders, a stream of them, and a steady trickle."""

from __future__ import annotations

import json
import re
import signal
import sqlite3
import subprocess
import time
import urllib.request
from contextlib import contextmanager
from itertools import islice
from typing import TYPE_CHECKING

from benchmarks.http_load import post_at_rate, post_bulk, post_orders
from benchmarks.measure import COMMAND, ROOT, environment, remove
from services.producer import synthetic

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from benchmarks.http_load import Load

CONNECTIONS = 64
RATE = 200.0
TRICKLE_SECONDS = 15


def single_orders(folder: Path, orders: int, workers: int, seed: int) -> Load:
    """Post orders one by one over many connections."""
    bodies = list(synthetic.encoded(orders, seed))
    with _serving(folder, workers) as (port, _):
        return _all_accepted(post_orders(port, bodies, CONNECTIONS), orders)


def bulk_orders(folder: Path, orders: int, workers: int, seed: int) -> Load:
    """Post orders as one stream."""
    lines = list(synthetic.encoded(orders, seed))
    with _serving(folder, workers) as (port, _):
        return _all_accepted(post_bulk(port, lines), orders)


def settlement_latencies(folder: Path, workers: int, seed: int) -> list[float]:
    """Post a steady trickle; return each order's seconds from acceptance to settlement, sorted."""
    count = int(RATE * TRICKLE_SECONDS)
    bodies = list(islice(synthetic.encoded(count, seed), count))
    with _serving(folder, workers) as (port, ledger):
        _all_accepted(post_at_rate(port, bodies, RATE), count)
    with sqlite3.connect(ledger) as connection:
        rows = connection.execute(
            "SELECT o.settled_at - j.accepted_at FROM outcomes o JOIN journal j"
            " ON j.partition = o.partition AND o.number BETWEEN j.first AND j.last"
        ).fetchall()
    connection.close()
    if len(rows) != count:
        raise SystemExit(f"{count} orders were accepted, and {len(rows)} settled")
    return sorted(micros / 1e6 for (micros,) in rows)


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
def _serving(folder: Path, workers: int) -> Iterator[tuple[int, Path]]:
    """Run the service with a fresh ledger; at the end it settles what it accepted."""
    ledger = folder / "http.db"
    remove(ledger)
    service = subprocess.Popen(
        [*COMMAND, "serve", "--port", "0", "--workers", str(workers)],
        cwd=ROOT,
        env=environment(ledger),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert service.stderr is not None  # noqa: S101
        match = re.search(r"http://127\.0\.0\.1:(\d+)", service.stderr.readline())
        if match is None:
            raise SystemExit("orderly serve did not start")
        log = (folder / "http.log").open("w")
        drain = subprocess.Popen(["cat"], stdin=service.stderr, stdout=log)
        _wait_for_workers(match[0], workers)
        yield int(match[1]), ledger
    finally:
        service.send_signal(signal.SIGTERM)
        service.wait()
        drain.wait()
        log.close()
