"""Redis mode as tests use it: services as processes of their own, one ledger, one Redis."""

from __future__ import annotations

import json
import signal
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import psycopg
import redis
from typing_extensions import override

from shared.environment import load_settings
from shared.ledger.ledger import open_ledger
from shared.metrics import COUNTERS, Meter
from tests.support.eventually import eventually
from tests.support.ledgers import final_state_of
from tests.support.orderly import Orderly, kill, workers_of

if TYPE_CHECKING:
    import subprocess
    from pathlib import Path

    from tests.support.replay import FinalState

# Recovery is asked for early, so that no test waits for it; machines are busy, so that a worker
# that gets no processor for a while is not taken for stuck.
QUICK = {"REDRIVE_AFTER": "0.5", "STALL_AFTER": "30"}


@dataclass
class Scaled(Orderly):
    """Runs the services of one ledger in PostgreSQL and one Redis.

    Attributes:
        ledger_url: Where the ledger is.
        redis_url: Where Redis is.
    """

    ledger_url: str = ""
    redis_url: str = ""
    _connection: psycopg.Connection[Any] | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        urls = {"LEDGER_URL": self.ledger_url, "REDIS_URL": self.redis_url}
        # Not in place: what was given may be a module's constant.
        self.environment = {**self.environment, "QUEUE_MODE": "redis", **urls, **QUICK}

    @override
    def close(self) -> None:
        super().close()
        if self._connection is not None:
            self._connection.close()

    @override
    def final_state(self) -> FinalState:
        """Read outcomes and balances straight from the ledger's tables."""
        ledger = open_ledger(load_settings(ledger_url=self.ledger_url), create=False)
        try:
            return final_state_of(ledger)
        finally:
            ledger.database.close()

    def redis(self) -> redis.Redis:
        """Talk to the same Redis; nothing is decoded."""
        return redis.Redis.from_url(self.redis_url)

    def connect(self, **options: Any) -> psycopg.Connection[Any]:
        """Connect to the ledger's database."""
        return psycopg.connect(self.ledger_url, **options)

    @override
    def query(self, statement: str, *parameters: Any) -> list[tuple[Any, ...]]:
        """Ask the ledger's database, beside the services; nothing while it is away or unmade."""
        try:
            if self._connection is None:
                self._connection = self.connect(autocommit=True)
            placed = statement.replace("?", "%s").encode()
            return self._connection.execute(placed, parameters or None).fetchall()
        except psycopg.OperationalError:
            if self._connection is not None:
                self._connection.close()
            self._connection = None
        except psycopg.errors.UndefinedTable:
            pass
        return []

    def ledger_id(self) -> str:
        return str(self.query("SELECT ledger_id FROM ledger")[0][0])

    def meters(self, *tables: str) -> dict[str, int]:
        """Add up what workers have counted, as supervisors reported it: those that have left
        (``departed``), those that have not (``workers``), or all.
        """
        total = Meter()
        for table in tables or ("workers", "departed"):
            for (cells,) in self.query(f"SELECT meter FROM {table}"):  # noqa: S608  a test names it
                if found := json.loads(cells):
                    total.add(Meter(found))
        return {name: total.counters[name] for name in COUNTERS} | {"settled": total.settled}

    def pay(self, workers: int = 2) -> subprocess.Popen[str]:
        """Start `orderly pay`, and wait until all of its workers are ready for work."""
        paying = self.start("pay", "--workers", str(workers))
        eventually(lambda: self.ready(paying) == workers, within=60, what="the workers are ready")
        return paying

    def ready(self, paying: subprocess.Popen[str]) -> int:
        """Count a service's workers that were reported ready, and are there."""
        assert paying.poll() is None, paying.communicate()
        present = workers_of(paying.pid)
        return self.count(
            "SELECT count(*) FROM workers WHERE state <> 'starting' AND pid = ANY(%s)", present
        )

    def until_accepted(self, goal: int) -> None:
        """Wait until so many orders have been accepted."""
        eventually(lambda: self.accepted() >= goal, within=60, what=f"{goal} are accepted")

    def produce(self, *arguments: str | Path) -> dict[str, Any]:
        """Take orders in from files, to their end."""
        found: dict[str, Any] = self.json("produce", *arguments)
        return found

    def stop(self, *services: subprocess.Popen[str], number: int = signal.SIGTERM) -> str:
        """End services in good order; return what they said."""
        for each in services:
            kill(each.pid, number)
        said = ""
        for each in services:
            _, err = each.communicate(timeout=60)
            assert each.returncode == 0, err
            said += err or ""  # nothing, where it was led to a file
        return said


def write_orders(
    path: Path, count: int, *, name: str = "o", customers: int = 100, customer: str = "c"
) -> Path:
    """Write JSONL of orders, some of which cannot be paid; the same for the same arguments."""
    with path.open("w") as file:
        for number in range(count):
            order = {
                "order_id": f"{name}-{number}",
                "customer_id": f"{customer}-{number * 7 % customers}",
                "currency": ("EUR", "USD")[number % 3 == 0],
                "placed_at": "2026-01-31T09:30:00Z",
                "items": [{"sku": "tea", "quantity": 1, "unit_price": number * 7919 % 20_000}],
            }
            file.write(json.dumps(order) + "\n")
    return path


def result(process: subprocess.Popen[str], *, code: int = 0, within: float = 90) -> Any:
    """Wait for a command with --json, and parse what it printed."""
    out, err = process.communicate(timeout=within)
    assert process.returncode == code, err
    with suppress(json.JSONDecodeError):
        return json.loads(out)
    raise AssertionError(f"no JSON: {out!r} {err!r}")
