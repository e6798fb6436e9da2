"""The page at full load: what it costs the service, and whether it stays smooth."""

from __future__ import annotations

import json
import os
import shutil
import statistics
import time
import urllib.request
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

from playwright.sync_api import sync_playwright

from benchmarks.http import serving
from benchmarks.measure import on_sqlite

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from playwright.sync_api import Page

RATE = 10_000

# Frames come 60 times a second. What a long one was held up by tells the browser itself: a task of
# the page, or a processor that others had.
_WATCH = """() => {
    window.frames_ = [];
    window.tasks_ = [];
    new PerformanceObserver((list) => {
        for (const entry of list.getEntries()) tasks_.push(entry.duration);
    }).observe({ type: "longtask" });
    let last = performance.now();
    const next = (now) => { frames_.push(now - last); last = now; requestAnimationFrame(next); };
    requestAnimationFrame(next);
}"""


class Smoothness(NamedTuple):
    """Frames while orders flooded by, in milliseconds; and tasks of the page above 50 ms."""

    frames: list[float]
    tasks: list[float]


class Comparison(NamedTuple):
    """Orders per second without and with the page open, in turn; and how the page fared."""

    without: list[float]
    beside: list[float]
    smoothness: list[Smoothness]

    @property
    def ratio(self) -> float:
        """How much of the throughput is left."""
        pairs = zip(self.without, self.beside, strict=True)
        return statistics.median(beside / without for without, beside in pairs)

    @property
    def frames(self) -> list[float]:
        """All frames, ascending."""
        return sorted(frame for each in self.smoothness for frame in each.frames)


def compare(folder: Path, orders: int, runs: int, workers: int) -> Comparison | None:
    """Flood a service with RATE orders a second, alone and looked at; None without a browser."""
    browser = os.environ.get("CHROMIUM") or shutil.which("chromium")
    if browser is None:
        return None
    result = Comparison([], [], [])
    for _ in range(runs):
        with serving(on_sqlite(folder / "page.db"), workers) as port:
            result.without.append(_flood(port, orders))
        with (
            serving(on_sqlite(folder / "page.db"), workers) as port,
            _looking(browser, port) as page,
        ):
            page.evaluate(_WATCH)
            result.beside.append(_flood(port, orders))
            result.smoothness.append(Smoothness(*page.evaluate("[frames_, tasks_]")))
    return result


@contextmanager
def _looking(browser: str, port: int) -> Iterator[Page]:
    with sync_playwright() as playwright:
        options = ["--no-sandbox"] if os.geteuid() == 0 else []
        started = playwright.chromium.launch(executable_path=browser, args=options)
        page = started.new_page(viewport={"width": 1440, "height": 900})
        page.goto(f"http://127.0.0.1:{port}/")
        page.wait_for_selector("body[data-state=live]")
        yield page
        started.close()


def _flood(port: int, orders: int) -> float:
    """Generate orders; return how many a second were settled, to the last one."""
    started = time.perf_counter()
    _ask(port, "/generator", {"orders": orders, "rate": RATE})
    while True:
        status = _ask(port, "/status")
        if status["created"] == orders and not status["open"]:
            return orders / (time.perf_counter() - started)
        time.sleep(0.05)


def _ask(port: int, path: str, body: dict[str, int] | None = None) -> Any:  # noqa: ANN401
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}{path}",
        None if body is None else json.dumps(body).encode(),
        {"content-type": "application/json"},
    )
    with urllib.request.urlopen(request) as answer:
        return json.load(answer)
