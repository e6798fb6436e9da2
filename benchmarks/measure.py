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


@dataclass(frozen=True)
class Run:
    """One run: orders per second, and the most memory that its processes had together, in bytes."""

    speed: float
    peak_memory: int


def orderly_run(folder: Path, file: Path, workers: int) -> Run:
    """Run a file through the pipeline with a fresh ledger."""
    ledger = folder / "bench.db"
    remove(ledger)
    arguments = ["run", str(file), "--json", "--workers", str(workers)]
    running = subprocess.Popen(
        [*COMMAND, *arguments], env=environment(ledger), cwd=ROOT, stdout=subprocess.PIPE
    )
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
    remove(ledger)
    started = time.time()
    subprocess.run(
        [*COMMAND, "run", "--orders", "1", "--seed", "1", "--json"],
        cwd=ROOT,
        env=environment(ledger),
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
        self._thread = threading.Thread(target=self._sample)
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
    return [root, *(pid for pid, parent in pairs if parent == root)]


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


def environment(ledger: Path) -> dict[str, str]:
    """The environment of a command that uses a ledger."""
    return {**os.environ, "LEDGER_URL": f"sqlite:///{ledger}", "PYTHONPATH": str(ROOT)}


def remove(ledger: Path) -> None:
    """Begin with no ledger."""
    for suffix in ("", "-wal", "-shm", ".lock"):
        Path(f"{ledger}{suffix}").unlink(missing_ok=True)
