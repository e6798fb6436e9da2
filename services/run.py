"""``orderly run``: take orders in and pay them until all are settled, then prove it."""

from __future__ import annotations

import secrets
import threading
import time
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Protocol

from services.local import LocalPipeline
from services.payment.gateway import load_gateway
from services.producer import synthetic
from services.producer.feed import Feed, at_rate
from services.producer.files import Input
from services.producer.intake import Intake
from services.producer.rejects import Rejects
from services.producer.source import CutOff
from services.signals import StopRequests
from shared.errors import LedgerUnavailable, OrderlyError
from shared.ledger.journal import positions
from shared.ledger.opening import open_ledger, set_aside
from shared.ledger.reports import Totals, run_totals, totals
from shared.ledger.verify import verify
from shared.schema import tune_gc

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from services.producer.source import Source
    from shared.ledger.journal import Position
    from shared.ledger.opening import Ledger
    from shared.settings import Settings

TICK_SECONDS = 0.05
STANDSTILL_SECONDS = 60.0
"""A run in which nothing moves for so long gives up, and says where it stands."""


@dataclass(frozen=True)
class Plan:
    """What to run.

    Attributes:
        files: Inputs to read, ``-`` for standard input.
        orders: How many orders to generate after them.
        seed: The generator's.
        rate: Most orders per second, or None for as many as will go.
        fresh: Whether to begin with an empty ledger.
        rejects: Where rejected orders go; None is beside the ledger.
    """

    files: Sequence[str] = ()
    orders: int = 0
    seed: int | None = None
    rate: float | None = None
    fresh: bool = False
    rejects: Path | None = None


@dataclass
class Report:
    """What a run came to. All but ``recovered`` counts this run's own input.

    Attributes:
        recovered: Open orders of earlier runs that were settled on the way.
        paid_amount: Money taken, by currency, in minor units.
        seconds: From the start to the last settlement.
        verified: Whether the whole ledger was proved, and this run's sums come out.
    """

    mode: str
    run_id: str
    received: int = 0
    created: int = 0
    duplicates: int = 0
    rejected: int = 0
    recovered: int = 0
    paid: int = 0
    declined: int = 0
    dead: int = 0
    open: int = 0
    paid_amount: dict[str, int] = field(default_factory=dict)
    seconds: float = 0.0
    orders_per_second: float = 0.0
    verified: bool = False

    def as_dict(self) -> dict[str, Any]:
        """The report under the names that ``run --json`` prints."""
        return asdict(self)


@dataclass
class Finished:
    """A report, and what a person should hear besides.

    Attributes:
        problems: Why the exit code is 1, if it is.
        rejects: The file of rejected orders and their most frequent reasons.
        violations: What verification found.
        set_aside: Where ``--fresh`` put the old ledger.
        error: What ended the intake early; what was accepted before is settled.
    """

    report: Report
    ledger: str
    rejects: Rejects
    set_aside: Path | None = None
    seed: int | None = None
    problems: list[str] = field(default_factory=list)
    violations: list[str] = field(default_factory=list)
    error: OrderlyError | None = None


@dataclass
class Progress:
    """How a run is getting on.

    Attributes:
        share: How much of the input was read, 0 to 1; None where nobody can know.
        received: Orders read.
        totals: The orders settled since the run began; ``open`` is the whole ledger's.
        phase: What is going on, in a word or two.
    """

    share: float | None
    received: int
    totals: Totals
    phase: str


class Display(Protocol):
    """Where progress is shown."""

    def update(self, progress: Progress) -> None:
        """Show the latest state."""

    def say(self, line: str) -> None:
        """Say something worth knowing at once."""


def new_run_id() -> str:
    """Name a run by its time, and by chance where two start at once."""
    return f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{secrets.token_hex(3)}"


class _Producer:
    """The thread that reads the inputs and takes orders in."""

    def __init__(self, feed: Feed, inputs: list[Input], plan: Plan, stop: StopRequests) -> None:
        self.feed = feed
        self.problems: list[str] = []
        self.error: OrderlyError | None = None
        self._bug: BaseException | None = None
        self._inputs = inputs
        self._plan = plan
        self._stop = stop
        self._thread = threading.Thread(target=self._run, name="producer", daemon=True)

    def start(self) -> None:
        self._thread.start()

    @property
    def is_done(self) -> bool:
        return not self._thread.is_alive()

    def check(self) -> None:
        """Raise in this thread what leaves the run nothing to do but to end."""
        if self._bug is not None:
            raise self._bug
        if isinstance(self.error, LedgerUnavailable):
            raise self.error

    @property
    def share(self) -> float | None:
        """How much of the input has been read, if that can be known."""
        if not self._inputs:
            return self.feed.received / self._plan.orders if self._plan.orders else 1.0
        if self._plan.orders or any(each.size is None for each in self._inputs):
            return None
        whole = sum(each.size or 0 for each in self._inputs)
        return sum(each.position() for each in self._inputs) / max(1, whole)

    def _run(self) -> None:
        try:
            for each in self._inputs:
                self._consume(each.orders(), each.name)
            if self._plan.orders:
                orders = synthetic.orders(self._plan.orders, self._plan.seed or 0)
                self._consume(orders, "generator")
        except OrderlyError as error:
            self.error = error
        except BaseException as error:  # noqa: BLE001  raised again by check()
            self._bug = error

    def _consume(self, source: Source, name: str) -> None:
        if self._plan.rate:
            source = at_rate(source, self._plan.rate, self._stop.drain)
        try:
            if not self.feed.consume(source):
                self.problems.append(f"{name}: stopped before its end")
        except CutOff as cut:
            self.problems.append(f"{name}, line {cut.line}: input cut off: {cut.why}")


def run(settings: Settings, plan: Plan, display: Display) -> Finished:
    """Take in what the plan names, pay it and what was open before, and prove the ledger.

    Raises:
        OrderlyError: With the exit code that it means. What was accepted is kept.
    """
    load_gateway(settings)  # one that cannot be loaded should stop a run before it starts
    stop = StopRequests()
    with stop.handled():
        inputs = [Input(path, stop.wake) for path in plan.files]
        aside = set_aside(settings) if plan.fresh else None
        ledger = open_ledger(settings)
        return _Run(settings, plan, display, ledger, stop).run(inputs, aside)


class _Run:
    """One run, from the first order to the report."""

    def __init__(
        self,
        settings: Settings,
        plan: Plan,
        display: Display,
        ledger: Ledger,
        stop: StopRequests,
    ) -> None:
        self._display = display
        self._ledger = ledger
        self._plan = plan
        self._stop = stop
        self._started = time.monotonic()
        self._has_said_so = False
        self._report = Report(mode=settings.queue_mode, run_id=new_run_id())
        run_id = self._report.run_id
        self._rejects = Rejects(
            plan.rejects or ledger.database.beside(f"rejects-{run_id}.jsonl"),
            is_wanted=plan.rejects is not None,
        )
        self._pipeline = LocalPipeline(ledger, settings, run_id=run_id)
        self._intake = Intake(ledger, self._pipeline.queue, settings, run_id=run_id)
        self._feed = Feed(self._intake, self._rejects, stop.drain)
        with ledger.database.read() as connection:
            self._before = positions(connection)
            self._totals_before = totals(connection)

    def run(self, inputs: list[Input], aside: Path | None) -> Finished:
        producer = _Producer(self._feed, inputs, self._plan, self._stop)
        problems: list[str] = []
        try:
            self._pipeline.start()
            producer.start()
            tune_gc()
            self._wait(producer)
        except _Abandoned as abandoned:
            problems.append(str(abandoned))
            self._pipeline.kill()
        except BaseException:
            self._pipeline.kill()
            raise
        else:
            self._pipeline.drain()
        finally:
            self._rejects.close()
        finished = Finished(self._report, self._ledger.name, self._rejects, aside, self._plan.seed)
        finished.problems = producer.problems + problems
        finished.error = producer.error
        self._conclude(finished, is_abandoned=bool(problems))
        return finished

    def _wait(self, producer: _Producer) -> None:
        """Watch over the pipeline until everything is settled."""
        moved_at = time.monotonic()
        last: object = None
        while True:
            is_done = producer.is_done
            places = self._positions()
            waiting = [place for place in places if place.cursor < self._target(place)]
            self._report.seconds = round(time.monotonic() - self._started, 3)
            producer.check()
            if is_done and not waiting:
                return
            if self._stop.abort.is_set():
                raise _Abandoned("stopped at once; the next run settles what is open")
            state = [place.cursor for place in places], self._feed.received
            if state != last or not waiting:
                last, moved_at = state, time.monotonic()
            if time.monotonic() - moved_at > STANDSTILL_SECONDS:
                raise _Abandoned(_standstill(waiting))
            self._show(producer)
            self._pipeline.watch(TICK_SECONDS)

    def _positions(self) -> list[Position]:
        with self._ledger.database.read() as connection:
            return positions(connection)

    def _target(self, place: Position) -> int:
        """The last number in a partition that this run has to see settled."""
        return max(self._before[place.partition].head, self._feed.ends.get(place.partition, 0))

    def _show(self, producer: _Producer) -> None:
        is_draining = self._stop.drain.is_set()
        if is_draining and not self._has_said_so:
            self._has_said_so = True
            self._display.say("settling what was accepted; a second signal stops at once")
        with self._ledger.database.read() as connection:
            now = totals(connection)
        before = self._totals_before
        now.paid -= before.paid
        now.declined -= before.declined
        now.dead -= before.dead
        self._display.update(
            Progress(
                producer.share, self._feed.received, now, "draining" if is_draining else "running"
            )
        )

    def _conclude(self, finished: Finished, *, is_abandoned: bool) -> None:
        """Count what became of this run's orders, and prove the ledger."""
        report, feed = self._report, self._feed
        report.received, report.created = feed.received, feed.created
        report.duplicates, report.rejected = feed.duplicates, feed.rejected
        with self._ledger.database.read() as connection:
            mine = run_totals(connection, report.run_id, feed.created)
            report.paid, report.declined, report.dead = mine.paid, mine.declined, mine.dead
            report.open, report.paid_amount = mine.open, mine.paid_amount
            report.recovered = sum(
                min(now.cursor, before.head) - before.cursor
                for now, before in zip(positions(connection), self._before, strict=True)
            )
            settled = mine.paid + mine.declined + mine.dead + report.recovered
            report.orders_per_second = round(settled / max(report.seconds, 0.001), 1)
            if is_abandoned:
                return
            proof = verify(self._ledger, connection)
        finished.violations = [
            f"{found.check}: {found.where}: {found.message}" for found in proof.violations
        ]
        report.verified = proof.ok and report.open == 0


class _Abandoned(Exception):
    """The run ends although orders are open; says why."""


def _standstill(waiting: list[Position]) -> str:
    places = ", ".join(
        f"partition {place.partition} at {place.cursor} of {place.head}" for place in waiting[:4]
    )
    return f"nothing has moved for {STANDSTILL_SECONDS:g} s: {places} stand still"
