"""A worker is killed in mid-run: how long its partitions wait for the next outcome."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from benchmarks.measure import COMMAND, ROOT
from shared.ledger.database.tables import outcomes, workers

if TYPE_CHECKING:
    from benchmarks.measure import Environment

RATE = 250
"""Orders a second: of two partitions each has one every 8 ms, and no worker has all it can do."""
SETTLING_SECONDS = 1.0
"""How long the run goes on between two kills, so that each finds it as it usually is."""

WITHIN_SECONDS = 30.0


def recovery_seconds(place: Environment, kills: int) -> list[float]:
    """Kill one worker after the other; return the seconds until another one has settled an order.

    Of the partition that the victim had.
    """
    place = place | {"PARTITIONS": "2"}
    orders = int((kills + 5) * RATE * (SETTLING_SECONDS + 1))
    arguments = ["run", "--orders", str(orders), "--seed", "1", "--rate", str(RATE)]
    subprocess.run([*COMMAND, "migrate"], env=place, cwd=ROOT, check=True)
    running = subprocess.Popen(
        [*COMMAND, *arguments], env=place, cwd=ROOT, stdout=subprocess.DEVNULL
    )
    engine = sa.create_engine(place["LEDGER_URL"].replace("postgresql:", "postgresql+psycopg:"))
    try:
        return [_kill_one(engine, each % 2) for each in range(kills)]
    finally:
        running.send_signal(signal.SIGINT)
        running.send_signal(signal.SIGINT)
        running.wait(WITHIN_SECONDS)
        engine.dispose()


def _kill_one(engine: sa.Engine, slot: int) -> float:
    """Kill the worker in a slot; wait for the next outcome of the partition that it had."""
    time.sleep(SETTLING_SECONDS)
    victim = sa.select(workers.c.pid, workers.c.worker, workers.c.partition).where(
        workers.c.slot == slot, workers.c.partition.is_not(None)
    )
    row = _await(engine, victim)
    os.kill(row.pid, signal.SIGKILL)
    killed_at = time.time_ns() // 1000
    settled = sa.select(outcomes.c.settled_at).where(
        outcomes.c.partition == row.partition,
        outcomes.c.settled_at > killed_at,
        outcomes.c.worker != row.worker,
    )
    first = _await(engine, settled.order_by(outcomes.c.number).limit(1))
    return float(first.settled_at - killed_at) / 1e6


def _await(engine: sa.Engine, query: sa.Select[Any]) -> sa.Row[Any]:
    until = time.monotonic() + WITHIN_SECONDS
    while time.monotonic() < until:
        with engine.connect() as connection:
            if row := connection.execute(query).first():
                return row
        time.sleep(0.01)
    raise SystemExit(f"nothing came within {WITHIN_SECONDS:g} s")
