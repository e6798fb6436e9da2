"""What Prometheus scrapes adds up to what was sent, paid and lost."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from prometheus_client.parser import text_string_to_metric_families

from services.http.metrics import VERDICTS
from services.pipeline.worker_stats import STATES
from shared.metrics import DELIVERIES
from tests.support.eventually import eventually
from tests.support.gateways import hold
from tests.support.ledgers import order
from tests.support.orderly import kill
from tests.support.server import lines

if TYPE_CHECKING:
    from tests.support.server import Server

NAMES = {
    "orderly_log_lines_dropped": "counter",
    "orderly_intake_orders": "counter",
    "orderly_intake_latency_seconds": "histogram",
    "orderly_intake_block_orders": "histogram",
    "orderly_intake_waiting_orders": "gauge",
    "orderly_intake_commit_seconds": "histogram",
    "orderly_http_responses": "counter",
    "orderly_http_response_seconds": "histogram",
    "orderly_ledger": "gauge",
    "orderly_ledger_up": "gauge",
    "orderly_queue_up": "gauge",
    "orderly_ledger_balanced": "gauge",
    "orderly_orders_created": "counter",
    "orderly_orders_settled": "counter",
    "orderly_orders_dead": "gauge",
    "orderly_orders_open": "gauge",
    "orderly_paid_minor_units": "counter",
    "orderly_workers": "gauge",
    "orderly_workers_replaced": "counter",
    "orderly_queue_depth": "gauge",
    "orderly_nudges": "counter",
    "orderly_deliveries": "counter",
    "orderly_gateway_retries": "counter",
    "orderly_gateway_calls": "counter",
    "orderly_gateway_calls_out": "gauge",
    "orderly_gateway_call_seconds": "histogram",
    "orderly_gateway_up": "gauge",
    "orderly_orders_in_doubt": "gauge",
    "orderly_settlement_latency_seconds": "histogram",
    "orderly_settlement_batch_orders": "histogram",
}
Samples = dict[tuple[str, ...], float]


def scrape(server: Server) -> Samples:
    """Read every sample, by its name and the values of its labels."""
    response = server.client.get("/metrics")
    assert response.status_code == 200
    assert response.headers["content-type"].startswith("text/plain; version=")
    found: Samples = {}
    for family in text_string_to_metric_families(response.text):
        for sample in family.samples:
            key = (sample.name, *(sample.labels[label] for label in sorted(sample.labels)))
            assert key not in found
            found[key] = sample.value
    return found


def assert_cumulative(server: Server) -> None:
    """Hold every histogram to its own rules."""
    for family in text_string_to_metric_families(server.client.get("/metrics").text):
        if family.type != "histogram":
            continue
        series: dict[tuple[str, ...], list[float]] = {}
        counts: dict[tuple[str, ...], float] = {}
        for sample in family.samples:
            labels = tuple(value for name, value in sample.labels.items() if name != "le")
            if sample.name.endswith("_bucket"):
                series.setdefault(labels, []).append(sample.value)
            elif sample.name.endswith("_count"):
                counts[labels] = sample.value
        for labels, buckets in series.items():
            assert buckets == sorted(buckets)
            assert buckets[-1] == counts[labels]


def test_every_metric_is_there_with_its_type_and_its_help(shop: Server) -> None:
    shop.place(order("measured"))
    found = {
        family.name: family
        for family in text_string_to_metric_families(shop.client.get("/metrics").text)
        if family.name.startswith("orderly_")
    }
    names = {name.removesuffix("_info"): family for name, family in found.items()}
    assert {name: family.type for name, family in names.items()} == NAMES
    assert all(family.documentation.endswith(".") for family in found.values())


@pytest.mark.long
def test_counters_add_up_to_what_was_sent_and_paid(server: Server) -> None:
    server.orderly.environment["GATEWAY_FAULTS"] = "permanent=0.2,seed=3"
    server.start()
    fresh = scrape(server)
    assert {fresh["orderly_intake_orders_total", each] for each in VERDICTS} == {0}
    for number in range(40):
        assert server.place(order(f"one-{number}", f"c-{number % 7}", 9_000)).status_code == 202
    for _ in range(5):
        assert server.place(order("one-0", "c-0", 9_000)).status_code == 200
    for _ in range(3):
        assert server.place(order("one-0", "c-0", 9_001)).status_code == 409
    for _ in range(2):
        assert server.place(b"{}").status_code == 422
    body = lines(order(f"many-{number}", f"c-{number % 7}", 4_000) for number in range(200))
    server.bulk(body + body[: body.index(b"\n") + 1] + b"{}\n")
    status = server.settle()

    found = scrape(server)
    counted = {each: found["orderly_intake_orders_total", each] for each in VERDICTS}
    assert counted == {
        "created": 240,
        "duplicate": 6,
        "conflict": 3,
        "invalid": 3,
        "no_room": 0,
        "unavailable": 0,
        "unknown": 0,
    }
    responses = {
        (key[2], key[1]): value
        for key, value in found.items()
        if key[0] == "orderly_http_responses_total" and key[2].startswith("/orders")
    }
    assert responses == {
        ("/orders", "202"): 40,
        ("/orders", "200"): 5,
        ("/orders", "409"): 3,
        ("/orders", "422"): 2,
        ("/orders/bulk", "200"): 1,
    }
    assert found["orderly_http_response_seconds_count", "/orders"] == 50
    assert found["orderly_intake_latency_seconds_count",] >= 40
    assert found["orderly_intake_block_orders_sum",] == 249  # all but the invalid ones
    assert (
        found["orderly_intake_commit_seconds_count",] == found["orderly_intake_block_orders_count",]
    )

    assert found["orderly_orders_created_total",] == status["created"] == 240
    for outcome in ("paid", "declined"):
        assert found["orderly_orders_settled_total", outcome] == status[outcome] > 0
    assert found["orderly_orders_dead",] == status["dead"] > 0
    assert found["orderly_orders_open",] == 0
    assert found["orderly_paid_minor_units_total", "USD"] == status["paid_amount"]["USD"]
    assert (found["orderly_ledger_up",], found["orderly_ledger_balanced",]) == (1, 1)
    assert found["orderly_settlement_latency_seconds_count",] == 240
    assert found["orderly_settlement_batch_orders_sum",] == 240
    assert sum(found["orderly_workers", each] for each in STATES) == 2
    assert sum(found["orderly_deliveries_total", each] for each in DELIVERIES) > 0
    assert found["orderly_workers_replaced_total",] == 0
    assert_cumulative(server)


def restarts(server: Server) -> list[int]:
    return [worker["restarts"] for worker in server.client.get("/status").json()["workers"]]


def test_a_killed_worker_is_counted_and_what_it_had_measured_is_kept(server: Server) -> None:
    server.start()
    first = lines(order(f"first-{number}", f"c-{number}", 1) for number in range(100))
    assert {each["code"] for each in server.bulk(first)} == {202}
    server.settle()
    assert scrape(server)["orderly_settlement_batch_orders_sum",] == 100
    for replaced, victim in enumerate(server.workers, 1):
        kill(victim)
        eventually(lambda: scrape(server)["orderly_workers_replaced_total",] == replaced)  # noqa: B023
        assert server.client.get("/readyz").status_code == 200
    assert scrape(server)["orderly_settlement_batch_orders_sum",] == 100
    second = lines(order(f"second-{number}", f"c-{number}", 1) for number in range(100))
    assert {each["code"] for each in server.bulk(second)} == {202}
    server.settle()
    found = scrape(server)
    assert found["orderly_settlement_batch_orders_sum",] == 200
    assert found["orderly_settlement_latency_seconds_count",] == 200
    assert found["orderly_workers_replaced_total",] == 2
    assert len(server.logged(event="worker replaced")) == 2
    eventually(lambda: restarts(server) == [1, 1], what="it is reported")
    assert_cumulative(server)


def test_the_invariant_is_kept_and_told_while_orders_are_open(server: Server) -> None:
    go = hold(server.orderly)
    server.orderly.environment |= {"MAX_PENDING": "6", "PAYMENT_WORKERS": "1"}
    server.start()
    assert {server.place(order(each)).status_code for each in "abcdef"} == {202}
    assert {server.place(order(each)).status_code for each in "ghi"} == {429}
    found = scrape(server)
    assert found["orderly_intake_orders_total", "no_room"] == 3
    assert found["orderly_orders_open",] == 6
    assert found["orderly_ledger_balanced",] == 1
    assert found["orderly_workers", "settling"] + found["orderly_workers", "starting"] == 1
    go.touch()
    server.settle()
    found = scrape(server)
    assert (found["orderly_orders_open",], found["orderly_orders_settled_total", "paid"]) == (0, 6)
