"""Runs of the `orderly` command, timed and weighed from outside."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path

COMMAND = [sys.executable, "-m", "services"]
ROOT = Path(__file__).parent.parent
Environment = dict[str, str]
_BASE = {**os.environ, "PYTHONPATH": str(ROOT)}


@dataclass(frozen=True)
class Run:
    """One run: orders per second, and the most memory that its processes had together, in bytes."""

    speed: float
    peak_memory: int


def orderly_run(place: Environment, file: Path, workers: int) -> Run:
    """Run a file through the pipeline, with a ledger that is empty."""
    arguments = ["run", str(file), "--json", "--workers", str(workers)]
    running = subprocess.Popen([*COMMAND, *arguments], env=place, cwd=ROOT, stdout=subprocess.PIPE)
    peak = _Peak(running.pid)
    out, _ = running.communicate()
    report = json.loads(out)
    if not report["verified"]:
        raise SystemExit(f"the run does not verify: {report}")
    return Run(report["orders_per_second"], peak.stop())


def help_seconds() -> float:
    """Time `orderly --help`."""
    started = time.perf_counter()
    subprocess.run([*COMMAND, "--help"], cwd=ROOT, stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - started


def first_payment(folder: Path) -> float:
    """Time from the start of `orderly run` to the first outcome in the ledger."""
    ledger = folder / "first.db"
    place = on_sqlite(ledger)
    started = time.time()
    subprocess.run(
        [*COMMAND, "run", "--orders", "1", "--seed", "1", "--json"],
        cwd=ROOT,
        env=place,
        stdout=subprocess.DEVNULL,
        check=True,
    )
    connection = sqlite3.connect(ledger)
    (settled_at,) = connection.execute("SELECT min(settled_at) FROM outcomes").fetchone()
    connection.close()
    return float(settled_at / 1e6 - started)


class _Peak:
    """Samples the memory of a process tree; shared pages count in proportion."""

    def __init__(self, root: int) -> None:
        self._root = root
        self._peak = 0
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)
        self._thread.start()

    def stop(self) -> int:
        self._done.set()
        self._thread.join()
        return self._peak

    def _sample(self) -> None:
        while not self._done.wait(0.1):
            self._peak = max(self._peak, sum(map(_memory, _tree(self._root))))


def _tree(root: int) -> list[int]:
    children = subprocess.run(
        ["ps", "-e", "-o", "pid=,ppid="], capture_output=True, text=True, check=True
    )
    pairs = [tuple(map(int, line.split())) for line in children.stdout.splitlines()]
    tree = [root]
    for each in tree:
        tree += [pid for pid, parent in pairs if parent == each]
    return tree


def _memory(pid: int) -> int:
    """Bytes of a process: proportional set size on Linux, resident size elsewhere."""
    rollup = Path(f"/proc/{pid}/smaps_rollup")
    try:
        for line in rollup.read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    shown = subprocess.run(
        ["ps", "-o", "rss=", "-p", str(pid)], capture_output=True, text=True, check=False
    )
    return int(shown.stdout or 0) * 1024


def on_sqlite(ledger: Path) -> Environment:
    """The environment of commands in local mode, with an empty ledger."""
    for suffix in ("", "-wal", "-shm", ".lock"):
        Path(f"{ledger}{suffix}").unlink(missing_ok=True)
    return {**_BASE, "QUEUE_MODE": "local", "LEDGER_URL": f"sqlite:///{ledger}"}


def on_servers(ledger: str, redis: str) -> Environment:
    """The environment of commands in redis mode."""
    return {**_BASE, "QUEUE_MODE": "redis", "LEDGER_URL": ledger, "REDIS_URL": redis}
