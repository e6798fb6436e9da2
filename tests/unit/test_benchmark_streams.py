"""The stream without a busy customer, and the limit that customers set to a stream."""

from __future__ import annotations

from collections import Counter

import pytest

from benchmarks.streams import even, limit
from services.producer.sources import synthetic
from shared.schema import parse_order


def test_an_even_stream_is_valid_mixed_and_the_same_for_the_same_seed() -> None:
    lines = list(even(2000, seed=7, customers=100))
    orders = [parse_order(line)[0] for line in lines]
    customers = [order.customer_id for order in orders]
    assert set(Counter(customers).values()) == {20}
    assert len(set(customers[:100])) < 100, "dealt out in turn, and not by chance"
    assert len({order.order_id for order in orders}) == 2000
    assert {order.currency for order in orders} == {"USD"}
    assert lines == list(even(2000, seed=7, customers=100))
    assert lines != list(even(2000, seed=8, customers=100))


def test_no_customer_of_the_usual_even_stream_has_more_than_a_five_hundredth() -> None:
    assert limit(list(even(20_000, seed=7)), latency=0.1) >= 500 / 0.1


def test_the_busiest_customer_is_the_limit() -> None:
    orders = [b'{"customer_id":"ada"}', b'{"customer_id":"ben"}', b'{"customer_id":"ada"}']
    assert limit(orders, latency=0.1) == pytest.approx(3 / (2 * 0.1))
    assert limit(list(synthetic.encoded(20_000, 7)), latency=0.1) == pytest.approx(615, abs=1)
