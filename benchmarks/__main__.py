"""`make bench`: throughput, the limit of one process, memory, and start-up times.

Every figure is measured now, on this machine; ratios are within this one run. It judges nothing.
Speeds are those of `orderly run --json`, from its start to the last settlement, with the starting
of the workers; both the journal and the settlements are on disk by then.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.backend import LATENCY
from benchmarks.gateway import pay
from benchmarks.http import bulk_orders, settlement_latencies, single_orders
from benchmarks.limit import one_process
from benchmarks.measure import Run, first_payment, help_seconds, on_sqlite, orderly_run
from benchmarks.page import RATE, compare
from benchmarks.recovery import recovery_seconds
from benchmarks.scaled import lone_orders, servers
from benchmarks.streams import even, limit
from services.producer.sources import synthetic

SEED = 7
STARTS = 20
CHARGED = 20_000
"""Orders that are paid through a slow backend: ten seconds' worth, and more."""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--orders", type=int, default=100_000, help="orders in a run")
    parser.add_argument("--runs", type=int, default=3, help="runs of each kind")
    parser.add_argument("--workers", type=int, default=2, help="payment workers")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="orderly-bench-") as folder:
        bench(Path(folder), options.orders, options.runs, options.workers)


def bench(folder: Path, orders: int, runs: int, workers: int) -> None:
    """Run everything in a folder of its own."""
    file = folder / "orders.jsonl"
    with file.open("wb") as out:
        out.writelines(raw + b"\n" for raw in synthetic.encoded(orders, SEED))
    size = file.stat().st_size / orders
    say(f"{orders:,} generated orders of {size:.0f} bytes, {workers} workers, SQLite, FULL sync\n")

    # In turn, so that a slow minute of the machine hits both.
    piped: list[Run] = []
    single: list[float] = []
    for _ in range(runs):
        piped.append(orderly_run(on_sqlite(folder / "bench.db"), file, workers))
        single.append(one_process(folder / "limit.db", file))
    show("end to end, orders/s", [run.speed for run in piped])
    show("one process, no queue, orders/s", single)
    ratio = statistics.median(run.speed / limit for run, limit in zip(piped, single, strict=True))
    say(f"{'ratio':<40} {ratio:10.2f}")
    show("peak memory of the tree, MB", [run.peak_memory / 1e6 for run in piped])
    long = folder / "long.jsonl"
    with long.open("wb") as out:
        for part in range(4):
            out.writelines(raw + b"\n" for raw in synthetic.encoded(orders, SEED + part))
    longest = orderly_run(on_sqlite(folder / "bench.db"), long, workers)
    show("the same, for a file of 4 times that", [longest.peak_memory / 1e6])
    measure_http(folder, orders, runs, workers)
    measure_page(folder, orders, runs, workers)
    measure_scaled(file, runs, workers)
    measure_gateway(folder, runs, workers)
    show("orderly --help, ms", [help_seconds() * 1000 for _ in range(10)])
    show("first order paid after, ms", [first_payment(folder) * 1000 for _ in range(STARTS)])
    recovered = recovery_seconds(on_sqlite(folder / "killed.db"), STARTS)
    show("worker killed, settling again after, ms", [each * 1000 for each in recovered])


def measure_http(folder: Path, orders: int, runs: int, workers: int) -> None:
    """Measure the service; the load comes from this process, on the same cores."""
    say("")
    single = [single_orders(folder, orders // 5, workers, SEED) for _ in range(runs)]
    show("POST /orders, 64 connections, orders/s", [orders // 5 / each.seconds for each in single])
    show("  answer after, ms, median", [each.latency(0.5) * 1000 for each in single])
    show("  answer after, ms, 99th percentile", [each.latency(0.99) * 1000 for each in single])
    bulk = [bulk_orders(folder, orders, workers, SEED) for _ in range(runs)]
    show("POST /orders/bulk, orders/s", [orders / each.seconds for each in bulk])
    trickle = [settlement_latencies(folder, workers, SEED) for _ in range(runs)]
    show("accepted to settled at 200/s, ms, median", [_at(each, 0.5) for each in trickle])
    show("  99th percentile", [_at(each, 0.99) for each in trickle])
    say("")


def measure_page(folder: Path, orders: int, runs: int, workers: int) -> None:
    """Measure what an open page costs, and how smooth it is; its browser shares the cores."""
    found = compare(folder, orders, runs, workers)
    if found is None:
        say("the page: needs Chromium, which is not there\n")
        return
    show(f"{RATE:,} orders/s wished, settled/s", found.without)
    show("  with the page open", found.beside)
    say(f"{'  ratio':<40} {found.ratio:10.2f}")
    frames = found.frames
    show("  frame of the page, ms, median", [frames[len(frames) // 2]])
    show("  99th percentile", [frames[int(len(frames) * 0.99)]])
    tasks = [task for each in found.smoothness for task in each.tasks]
    show("  longest", [frames[-1]])
    show("  tasks of the page above 50 ms", [len(tasks)])
    if tasks:
        show("  the longest of them, ms", [max(tasks)])
    say("")


def measure_scaled(file: Path, runs: int, workers: int) -> None:
    """Measure redis mode; its servers share the cores, too."""
    say(f"redis mode: {workers} workers, RQ, PostgreSQL with every commit synced")
    with servers() as both:
        speeds = [orderly_run(both.place(), file, workers).speed for _ in range(runs)]
        show("end to end, orders/s", speeds)
        lone = [lone_orders(both.place(), workers, SEED) for _ in range(runs)]
        recovered = recovery_seconds(both.place(), STARTS)
    show("a lone order, accepted to settled, ms", [_at(each, 0.5) for each in lone])
    show("  99th percentile", [_at(each, 0.99) for each in lone])
    show("worker killed, settling again after, ms", [each * 1000 for each in recovered])
    say("")


def measure_gateway(folder: Path, runs: int, workers: int) -> None:
    """Measure paying through a backend that takes 100 ms, on the same cores."""
    say(f"a backend of {LATENCY * 1000:g} ms: {workers} workers, one call a customer")
    streams = {"no busy customer": even, "generated, with a busy one": synthetic.encoded}
    with servers() as both:
        for name, encoded in streams.items():
            orders = list(encoded(CHARGED, SEED))
            file = folder / "charged.jsonl"
            file.write_bytes(b"\n".join(orders) + b"\n")
            bound = limit(orders, LATENCY)
            local = [pay(on_sqlite(folder / "charged.db"), file, workers) for _ in range(runs)]
            show(f"{name}, orders/s", [each.speed for each in local])
            show("  most calls out at once", [each.counts.most_out for each in local])
            show("  in order no more than", [bound])
            if name == "no busy customer":
                scaled = [pay(both.place(), file, workers).speed for _ in range(runs)]
                show("  in redis mode, on PostgreSQL", scaled)
    say("")


def _at(latencies: list[float], share: float) -> float:
    """Milliseconds that a share of the sorted latencies does not exceed."""
    return latencies[int(len(latencies) * share)] * 1000


def show(what: str, values: list[float]) -> None:
    """Print a figure: its median, and its range if there are several."""
    spread = f"   {min(values):,.0f} to {max(values):,.0f}" if len(values) > 1 else ""
    say(f"{what:<40} {statistics.median(values):10,.0f}{spread}")


def say(line: str) -> None:
    """Print a line now."""
    print(line, flush=True)


if __name__ == "__main__":
    started = time.monotonic()
    main()
    print(f"\nmeasured in {time.monotonic() - started:.0f} s", file=sys.stderr)
