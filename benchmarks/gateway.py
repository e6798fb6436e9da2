"""Charging through a slow backend: how fast orders are paid, and how fast they could be.

By itself it floods the backend without regard to customers: its own cost, and how far a caller that
keeps no order can go.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from typing import TYPE_CHECKING, NamedTuple

from benchmarks.backend import LATENCY, running
from benchmarks.http_load import post, send_all
from benchmarks.measure import orderly_run
from benchmarks.streams import even, limit
from services.producer.sources import synthetic

if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks.backend import Counts
    from benchmarks.measure import Environment

SEED = 7


class Paid(NamedTuple):
    """A run that was paid through a backend.

    Attributes:
        speed: Orders settled per second, from the first call to the last settlement.
        counts: What the backend saw.
    """

    speed: float
    counts: Counts


def pay(place: Environment, file: Path, workers: int, latency: float = LATENCY) -> Paid:
    """Pay a file of orders through a bare backend, on the same cores."""
    with running(latency) as backend:
        through = {**place, "PAYMENT_GATEWAY": f"http://127.0.0.1:{backend.port}"}
        run = orderly_run(through, file, workers)
        counts = backend.counts()
    if counts.overlaps or counts.repeats:
        raise SystemExit(f"calls overlap, or come twice: {counts}")
    return Paid(run.speed, counts)


class Flood(NamedTuple):
    """What a backend saw of a flood of charges, and what it took.

    Attributes:
        speed: Charges per second.
        cost: User and system time of the backend for a charge, in seconds.
    """

    counts: Counts
    speed: float
    cost: float


def flood(orders: list[bytes], connections: int, latency: float) -> Flood:
    """Charge for all orders as fast as the connections allow, without regard to customers."""
    with running(latency) as backend:
        charges = [_charge(backend.port, order) for order in orders]
        before = backend.counts()
        load = send_all(backend.port, charges, connections)
        counts = backend.counts()
    if load.codes != {200: len(orders)}:
        raise SystemExit(f"not every charge was answered: {dict(load.codes)}")
    cost = (counts.cpu_seconds - before.cpu_seconds) / len(orders)
    return Flood(counts, len(orders) / load.seconds, cost)


def _charge(port: int, raw: bytes) -> bytes:
    order = json.loads(raw)
    body = {
        "account": f"customer/{order['customer_id']}/{order['currency']}",
        "amount": sum(item["quantity"] * item["unit_price"] for item in order["items"]),
        "currency": order["currency"],
        "reference": order["order_id"],
    }
    key = f"Idempotency-Key: bench~{order['order_id']}~1"
    return post(port, "/charges", json.dumps(body).encode(), key)


def main() -> None:
    """Flood a backend with either stream, and print its counts."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gateway", description=__doc__)
    parser.add_argument("--orders", type=int, default=20_000, help="orders in a stream")
    parser.add_argument("--connections", type=int, default=256, help="calls out at once")
    parser.add_argument("--latency", type=float, default=LATENCY, help="of the backend, in seconds")
    options = parser.parse_args()
    for name, encoded in (("even", even), ("generated", synthetic.encoded)):
        orders = list(encoded(options.orders, SEED))
        flooded = flood(orders, options.connections, options.latency)
        print(
            f"{name}: {flooded.speed:,.0f} charges/s in no order"
            f" (in order at most {limit(orders, options.latency):,.0f}),"
            f" {flooded.cost * 1e6:.0f} µs of the backend each\n"
            f"  {json.dumps(asdict(flooded.counts))}",
            flush=True,
        )


if __name__ == "__main__":
    main()
