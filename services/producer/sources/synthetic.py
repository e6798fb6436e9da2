"""Synthetic orders: as many as wanted, always the same for the same seed.

Customers come back as they do in life: most orders are somebody's next one, and who has ordered
often is likelier to order again, so that a few customers give very many orders.
"""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from services.producer.sources.csv_orders import HEADER
from services.producer.sources.source import Accepted, SourceLine
from shared.currencies import MINOR_DIGITS
from shared.schema import Order, parse_order

if TYPE_CHECKING:
    from collections.abc import Iterator

    from services.producer.sources.source import Source

NEWCOMERS = 0.1
"""Share of orders that are placed by somebody new."""

REGULARS = 500
"""Customers who are there from the start."""

REMEMBERED = 20_000
"""So many of the latest orders decide who comes back: memory stays flat."""

_OPENED = datetime(2026, 1, 1, tzinfo=UTC)
_CURRENCIES = ("USD",) * 12 + ("EUR",) * 5 + ("GBP", "JPY", "KWD")
_ITEMS = (1, 2, 2, 3, 3, 4, 4, 5)
_QUANTITIES = (1, 1, 1, 1, 2, 2, 3)
_PRICES = (99, 129, 149, 179, 199, 249, 299, 349, 399, 449, 599, 1299)


def new_seed() -> int:
    """Draw a seed short enough to be typed again."""
    return random.SystemRandom().randrange(1, 1_000_000)


def encoded(count: int, seed: int) -> Iterator[bytes]:
    """Yield ``count`` orders as canonical JSON; a longer run begins with the shorter one's."""
    # Written by hand, not through Order: the generator should not be what a benchmark measures.
    draw = random.Random(seed)  # noqa: S311  reproducible on purpose
    uniform, choice = draw.random, draw.choice
    customers = REGULARS
    latest = list(range(1, customers + 1))
    placed_at = _OPENED
    for number in range(count):
        if uniform() < NEWCOMERS:
            customers += 1
            customer = customers
        else:
            customer = choice(latest)
        if len(latest) < REMEMBERED:
            latest.append(customer)
        else:
            latest[number % REMEMBERED] = customer
        placed_at += timedelta(seconds=1 + int(uniform() * 30))
        items = ",".join(
            f'{{"sku":"SKU-{int(uniform() * 9000) + 1000}","quantity":{choice(_QUANTITIES)},'
            f'"unit_price":{choice(_PRICES)}}}'
            for _ in range(choice(_ITEMS))
        )
        yield (
            f'{{"order_id":"s{seed}-{number + 1:08d}","customer_id":"customer-{customer:06d}",'
            f'"currency":"{_CURRENCIES[customer % len(_CURRENCIES)]}",'
            f'"placed_at":"{placed_at:%Y-%m-%dT%H:%M:%SZ}","items":[{items}]}}'
        ).encode()


def orders(count: int, seed: int) -> Source:
    """Yield generated orders as a source, through the same parser as any other."""
    name = f"seed {seed}"
    for number, raw in enumerate(encoded(count, seed), 1):
        order, canonical = parse_order(raw)
        yield Accepted(SourceLine(name, number), order, canonical)


def as_csv(count: int, seed: int) -> Iterator[str]:
    """Yield generated orders as CSV, the header first."""
    yield HEADER
    for raw in encoded(count, seed):
        order, _ = parse_order(raw)
        head = (
            f"{order.order_id},{order.customer_id},{order.currency},"
            f"{order.placed_at:%Y-%m-%dT%H:%M:%SZ}"
        )
        for item in order.items:
            yield f"{head},{item.sku},{item.quantity},{_major(item.unit_price, order)}"


def _major(amount: int, order: Order) -> str:
    digits = MINOR_DIGITS[order.currency]
    text = f"{amount:0{digits + 1}}"
    return f"{text[:-digits]}.{text[-digits:]}" if digits else text
