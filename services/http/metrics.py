"""What Prometheus scrapes: the ledger's counters, this service's own, and the workers'."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    PlatformCollector,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client import Histogram as PrometheusHistogram
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
)

from shared import clock
from shared.errors import LedgerUnavailable
from shared.ledger.doubts import count_doubtful
from shared.ledger.journal import Verdict
from shared.ledger.totals import totals
from shared.ledger.workers import is_gateway_away
from shared.metrics import CALLS, DELIVERIES, LATENCY_BOUNDS, SIZE_BOUNDS
from shared.standard_error import dropped_lines

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from prometheus_client.metrics_core import Metric

    from services.pipeline.base import Pipeline
    from services.pipeline.worker_stats import WorkerStats
    from shared.ledger.ledger import Ledger
    from shared.ledger.totals import Totals
    from shared.metrics import Histogram

_SECONDS = [bound / clock.SECOND for bound in LATENCY_BOUNDS]
VERDICTS = (*Verdict, "invalid", "unavailable", "unknown")


class IntakeMetrics:
    """What is measured at the intake and in front of it."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry
        self._verdicts = Counter(
            "orderly_intake_orders",
            "Orders that asked to be accepted, by the answer.",
            ["verdict"],
            registry=registry,
        )
        self._by_verdict = {name: self._verdicts.labels(name) for name in VERDICTS}
        self._responses = Counter(
            "orderly_http_responses",
            "HTTP responses by route and status code.",
            ["route", "code"],
            registry=registry,
        )
        seconds = partial(PrometheusHistogram, buckets=_SECONDS, registry=registry)
        self._latency = seconds(
            "orderly_intake_latency_seconds",
            "From the arrival of an order to the commit that accepts it.",
        )
        self._commits = seconds(
            "orderly_intake_commit_seconds",
            "How long an intake transaction took, its wait for other writers included.",
        )
        self._response_seconds = seconds(
            "orderly_http_response_seconds",
            "From a request's head to the end of its response.",
            ["route"],
        )
        self._blocks = PrometheusHistogram(
            "orderly_intake_block_orders",
            "Orders per intake transaction.",
            buckets=SIZE_BOUNDS,
            registry=registry,
        )
        self._by_response: dict[tuple[str, int], tuple[Counter, PrometheusHistogram]] = {}

    def count_waiting(self, waiting: Callable[[], int]) -> None:
        """Show how many orders wait for intake whenever somebody asks."""
        gauge = Gauge(
            "orderly_intake_waiting_orders",
            "Orders whose senders wait for the commit that accepts them.",
            registry=self._registry,
        )
        gauge.set_function(waiting)

    def verdict(self, name: str, seconds: float | None = None) -> None:
        """Count an answer, and how long it took."""
        self._by_verdict[name].inc()
        if seconds is not None:
            self._latency.observe(seconds)

    def block(self, orders: int, seconds: float) -> None:
        """Count a block that was written."""
        self._blocks.observe(orders)
        self._commits.observe(seconds)

    def response(self, route: str, code: int, seconds: float) -> None:
        """Count an HTTP response."""
        found = self._by_response.get((route, code))
        if found is None:
            labelled = self._responses.labels(route, code), self._response_seconds.labels(route)
            found = self._by_response[route, code] = labelled
        counter, histogram = found
        counter.inc()
        histogram.observe(seconds)


class Metrics:
    """Everything there is to scrape.

    Attributes:
        intake: What intake measures.
    """

    def __init__(self, ledger: Ledger, pipeline: Pipeline, mode: str) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]  # they would double the page, and one has a metric's name
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        PlatformCollector(registry=self._registry)
        self.intake = IntakeMetrics(self._registry)
        self._registry.register(_Collector(ledger, pipeline, mode))

    def text(self) -> bytes:
        """Write them down; reads the ledger, if it can be read."""
        return generate_latest(self._registry)


class _Collector:
    """Reads what others keep, whenever somebody asks."""

    def __init__(self, ledger: Ledger, pipeline: Pipeline, mode: str) -> None:
        self._ledger = ledger
        self._pipeline = pipeline
        self._mode = mode

    def describe(self) -> Iterable[Metric]:
        """Nothing: whoever registers this should not need the ledger."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Yield everything as it is now."""
        found: Totals | None
        try:
            with self._ledger.database.read() as connection:
                found = totals(connection)
                in_doubt = count_doubtful(connection)
                stats = self._pipeline.worker_stats(connection)
        except LedgerUnavailable:
            in_doubt = 0
            found, stats = None, self._pipeline.worker_stats(None)
        up = "1 while the ledger can be read."
        yield GaugeMetricFamily("orderly_ledger_up", up, int(found is not None))
        carries = "1 while the queue carries: in redis mode, while Redis does all that is needed."
        yield GaugeMetricFamily("orderly_queue_up", carries, int(not self._pipeline.queue_trouble))
        if found is not None:
            yield from self._of_the_ledger(found)
            yield GaugeMetricFamily(
                "orderly_orders_in_doubt",
                "Open orders that may be charged, and nobody knows.",
                in_doubt,
            )
        if stats is not None:
            yield from _of_workers(stats)
        yield GaugeMetricFamily(
            "orderly_queue_depth", "Messages on the queue.", self._pipeline.depth
        )
        yield CounterMetricFamily(
            "orderly_nudges", "Messages that only said: look at the journal.", self._pipeline.nudges
        )

        yield CounterMetricFamily(
            "orderly_log_lines_dropped",
            "Lines of this service's standard error that could not be written.",
            dropped_lines(),
        )

    def _of_the_ledger(self, found: Totals) -> Iterator[Metric]:
        yield InfoMetricFamily(
            "orderly_ledger",
            "Which ledger this is.",
            {"ledger_id": self._ledger.ledger_id, "mode": self._mode},
        )
        yield CounterMetricFamily(
            "orderly_orders_created", "Orders that were ever accepted.", found.created
        )
        settled = CounterMetricFamily(
            "orderly_orders_settled", "Orders by outcome.", labels=["outcome"]
        )
        settled.add_metric(["paid"], found.paid)
        settled.add_metric(["declined"], found.declined)
        yield settled
        yield GaugeMetricFamily(
            "orderly_orders_dead", "Dead letters; a retry takes one away.", found.dead
        )
        yield GaugeMetricFamily(
            "orderly_orders_open", "Accepted orders that are not settled.", found.open
        )
        paid = CounterMetricFamily(
            "orderly_paid_minor_units", "Money taken, in minor units.", labels=["currency"]
        )
        for currency, amount in found.paid_amount.items():
            paid.add_metric([currency], amount)
        yield paid
        is_balanced = found.is_balanced
        yield GaugeMetricFamily(
            "orderly_ledger_balanced",
            "1 while created = paid + declined + dead + open.",
            int(is_balanced),
        )


def _of_workers(stats: WorkerStats) -> Iterator[Metric]:
    workers = GaugeMetricFamily("orderly_workers", "Payment workers alive.", labels=["state"])
    for state, count in stats.states.items():
        workers.add_metric([state], count)
    yield workers
    yield CounterMetricFamily(
        "orderly_workers_replaced",
        "Workers that died or got stuck, and were replaced.",
        stats.replaced,
    )
    deliveries = CounterMetricFamily(
        "orderly_deliveries", "Messages by what they turned out to be.", labels=["kind"]
    )
    for kind in DELIVERIES:
        deliveries.add_metric([kind], stats.meter.counters[kind])
    yield deliveries
    yield CounterMetricFamily(
        "orderly_gateway_retries",
        "Attempts after which an order had to wait.",
        stats.meter.counters["retries"],
    )
    calls = CounterMetricFamily(
        "orderly_gateway_calls",
        "Calls to an outside gateway: charges, look-ups; those that left a doubt or found nobody.",
        labels=["kind"],
    )
    for kind in CALLS:
        calls.add_metric([kind], stats.meter.counters[kind])
    yield calls
    yield GaugeMetricFamily(
        "orderly_gateway_calls_out",
        "Calls to an outside gateway that are out.",
        sum(entry.calls_out for entry in stats.entries),
    )
    yield GaugeMetricFamily(
        "orderly_gateway_up",
        "1 while no worker finds that its gateway does not answer.",
        int(not is_gateway_away(stats.entries)),
    )
    yield _histogram(
        "orderly_gateway_call_seconds",
        "How long calls to an outside gateway took.",
        stats.meter.calls,
        clock.SECOND,
    )
    yield _histogram(
        "orderly_settlement_latency_seconds",
        "From the acceptance of an order to its settlement.",
        stats.meter.latency,
        clock.SECOND,
    )
    yield _histogram(
        "orderly_settlement_batch_orders",
        "Orders per settling transaction.",
        stats.meter.batches,
        1,
    )


def _histogram(name: str, what: str, histogram: Histogram, scale: int) -> Metric:
    family = HistogramMetricFamily(name, what)
    buckets: list[tuple[str, float]] = []
    count = 0
    bounds = [*(str(bound / scale) for bound in histogram.bounds), "+Inf"]
    for bound, in_bucket in zip(bounds, histogram.counts, strict=True):
        count += in_bucket
        buckets.append((bound, count))
    family.add_metric([], buckets, histogram.sum / scale)
    return family
