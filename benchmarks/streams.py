"""A stream of orders without a busy customer, and the limit that customers set to any stream.

Whoever keeps a customer's orders in their order asks a backend for one at a time. So the customer
with the most orders is a limit that no machine can pass; `orderly generate` has such customers.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import sys
from collections import Counter
from typing import TYPE_CHECKING

from services.producer.sources import synthetic

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

CUSTOMERS = 1000


def even(count: int, seed: int, customers: int = CUSTOMERS) -> Iterator[bytes]:
    """Yield generated orders, dealt out evenly among customers, in a random but fixed order.

    All are in one currency: so a customer is an account, for a backend that knows accounts only.
    """
    dealt = [number % customers for number in range(count)]
    random.Random(seed).shuffle(dealt)
    for number, (customer, raw) in enumerate(
        zip(dealt, synthetic.encoded(count, seed), strict=True), 1
    ):
        order = json.loads(raw) | {
            "order_id": f"e{seed}-{number:08d}",
            "customer_id": f"even-{customer:06d}",
            "currency": "USD",
        }
        yield json.dumps(order, separators=(",", ":")).encode()


def busiest(orders: Iterable[bytes]) -> int:
    """Count the orders of the customer who has the most."""
    return max(Counter(json.loads(order)["customer_id"] for order in orders).values(), default=0)


def limit(orders: list[bytes], latency: float) -> float:
    """The most orders a second that a stream allows, where a call takes ``latency`` seconds."""
    serial = busiest(orders) * latency
    return len(orders) / serial if serial else math.inf


def main() -> None:
    """Write an even stream to standard output, as JSONL."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.streams", description=__doc__)
    parser.add_argument("count", type=int, metavar="N", help="orders")
    parser.add_argument("--seed", type=int, default=7, help="7 if not given")
    parser.add_argument("--customers", type=int, default=CUSTOMERS, help="1000 if not given")
    options = parser.parse_args()
    orders = even(options.count, options.seed, options.customers)
    sys.stdout.buffer.writelines(raw + b"\n" for raw in orders)


if __name__ == "__main__":
    main()
