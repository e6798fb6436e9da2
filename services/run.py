"""``orderly run``: take orders in and pay them until all are settled, then prove it.

And ``orderly produce``, which only takes them in.
"""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from services.conclusion import Conclusion
from services.payment.load_gateway import load_gateway
from services.pipeline.select import new_pipeline
from services.pipeline.stall import OUTAGE_SECONDS, STALL_SECONDS, Abandoned, StallDetector
from services.processes.signals import StopRequests
from services.producer.batcher import Batcher
from services.producer.intake import Intake
from services.producer.reader import Reader
from services.producer.rejects import Rejects
from services.producer.sources.files import Input
from services.run_report import Display, Finished, Progress, RunReport
from services.timed_queries import TimedQueries
from shared.collector import tune_gc
from shared.ledger.doubts import count_doubtful
from shared.ledger.ledger import open_ledger, set_aside, why_closed
from shared.ledger.positions import read_positions
from shared.ledger.totals import totals
from shared.ledger.verification.verify import standing
from shared.ledger.workers import is_gateway_away, present

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from services.pipeline.base import Pipeline
    from services.producer.sources.source import Source
    from shared.ledger.ledger import Ledger
    from shared.ledger.positions import Position
    from shared.settings import Settings

    NewPipeline = Callable[..., Pipeline]

TICK_SECONDS = 0.05

LONELY_SECONDS = 3.0
QUIET_SECONDS = 1.0
"""A run in which nothing moves for so long looks for what keeps it."""

GATEWAY_AWAY = "the gateway is away: orders wait for it, ten minutes at most"
NOBODY_PAYS = "no payment worker is there yet; start some with orderly pay"

NONE_IS_READY = (
    "no payment worker is ready yet; see the log, or how busy this machine is, and run again"
)


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
        settles: Whether to wait until all is settled.
        proves_all: Whether to prove the whole ledger, and not only what the run touched.
        sources: Sources of one's own, read after the files, by what to call them.
    """

    files: Sequence[str] = ()
    orders: int = 0
    seed: int | None = None
    rate: float | None = None
    fresh: bool = False
    rejects: Path | None = None
    settles: bool = True
    proves_all: bool = False
    sources: Mapping[str, Source] = field(default_factory=dict)


def new_run_id() -> str:
    """Name a run by its time, and by chance where two start at once."""
    return f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{secrets.token_hex(3)}"


def run(
    settings: Settings, plan: Plan, display: Display, pipeline: NewPipeline = new_pipeline
) -> Finished:
    """Take in what the plan names, pay it and what was open before, and prove that.

    Args:
        settings: What is in force.
        plan: What to run.
        display: Where progress is shown.
        pipeline: Makes what carries the orders and pays them, as ``new_pipeline`` does.

    Raises:
        OrderlyError: With the exit code that it means. What was accepted is kept.
    """
    load_gateway(settings)  # one that cannot be loaded should stop a run before it starts
    stop = StopRequests()
    inputs = [Input(path, stop.wake) for path in plan.files]
    rejects = Rejects(plan.rejects, is_wanted=True) if plan.rejects else None
    aside = set_aside(settings) if plan.fresh else None
    ledger = open_ledger(settings)  # where its server is waited for, a signal ends that at once
    with stop.handled():
        try:
            finished = _Run(settings, plan, inputs, rejects, display, ledger, stop, pipeline).run()
        finally:
            ledger.database.close()
    finished.set_aside = aside
    return finished


class _Run:
    """One run, from the first order to the report."""

    def __init__(
        self,
        settings: Settings,
        plan: Plan,
        inputs: list[Input],
        rejects: Rejects | None,
        display: Display,
        ledger: Ledger,
        stop: StopRequests,
        pipeline: NewPipeline,
    ) -> None:
        self._display = display
        self._ledger = ledger
        self._plan = plan
        self._settings = settings
        self._has_workers = settings.payment_workers > 0
        self._stop = stop
        self._started = time.monotonic()
        self._said: set[str] = set()
        self._report = RunReport(mode=settings.queue_mode, run_id=new_run_id())
        run_id = self._report.run_id
        self._rejects = rejects or Rejects(
            ledger.database.backend.beside(f"rejects-{run_id}.jsonl"), is_wanted=False
        )
        self._pipeline = pipeline(ledger, settings, run_id=run_id)
        intake = Intake(ledger, self._pipeline.queue, settings, run_id=run_id)
        self._batcher = Batcher(intake, self._rejects, stop.drain)
        self._reader = Reader(
            self._batcher,
            inputs,
            plan.sources,
            orders=plan.orders,
            seed=plan.seed or 0,
            rate=plan.rate,
            stop=stop.drain,
        )
        self._queries = TimedQueries(ledger, stop.abort)
        self._before = ledger.database.ask(standing)
        self._totals_before = ledger.database.ask(totals)

    def run(self) -> Finished:
        problems: list[str] = []
        try:
            self._pipeline.start()
            self._reader.start()
            tune_gc()
            self._wait()
        except Abandoned as abandoned:
            problems.append(str(abandoned))
            if not self._has_workers and not self._queries.ask(present):
                problems.append(NOBODY_PAYS)
            if self._pipeline.supervisor.is_useless and not self._stop.abort.is_set():
                problems.append(NONE_IS_READY)
            # The workers may have found no room where this process has its connections.
            if why := why_closed(self._settings):
                problems.append(why)
            self._pipeline.kill()
        except BaseException:
            self._pipeline.kill()
            raise
        else:
            self._pipeline.drain()
        finally:
            self._rejects.close()
        finished = Finished(self._report, self._ledger.name, self._rejects, self._plan.seed)
        finished.problems = self._reader.problems + problems
        finished.notes = self._reader.notes
        finished.error = self._reader.error
        self._conclude(finished, is_abandoned=bool(problems))
        return finished

    def _wait(self) -> None:
        """Watch over the pipeline until everything is settled."""
        stall = StallDetector()
        while True:
            is_done = self._reader.is_done
            positions = self._queries.ask(read_positions)
            waiting = [each for each in positions if each.through < self._target(each)]
            self._report.seconds = round(time.monotonic() - self._started, 3)
            self._reader.check()
            if is_done and not waiting:
                self._show("running")
                return
            if self._stop.abort.is_set():
                raise Abandoned("stopped at once; the next run settles what is open")
            state = [each.settled for each in positions], self._batcher.received
            stall.observe(state, waiting, self._patience(stall))
            self._show("draining" if self._stop.drain.is_set() else "running")
            self._pipeline.watch(TICK_SECONDS)
            self._pipeline.check()

    def _patience(self, stall: StallDetector) -> float:
        """How long nothing may move: longer, where it is the gateway that everybody waits for."""
        if not stall.is_quiet(QUIET_SECONDS) or not self._plan.settles:
            return STALL_SECONDS
        is_away = self._pipeline.is_gateway_away
        if not is_away and not self._pipeline.supervisor.workers:
            is_away = is_gateway_away(self._queries.ask(present))
        if is_away:
            self._say_once(GATEWAY_AWAY)
        elif not self._queries.ask(count_doubtful):
            return STALL_SECONDS
        return OUTAGE_SECONDS

    def _target(self, position: Position) -> int:
        """The last number in a partition that this run has to see settled."""
        if not self._plan.settles:
            return 0
        before = self._before.positions[position.partition].head
        return max(before, self._batcher.ends.get(position.partition, 0))

    def _show(self, phase: str) -> None:
        if phase == "draining":
            self._say_once("settling what was accepted; a second signal stops at once")
        if self._is_lonely():
            self._say_once(NOBODY_PAYS)
        now = self._queries.ask(totals)
        before = self._totals_before
        now.paid -= before.paid
        now.declined -= before.declined
        now.dead -= before.dead
        self._display.update(Progress(self._reader.share, self._batcher.received, now, phase))

    def _is_lonely(self) -> bool:
        """Whether this run waits for workers elsewhere, and there are none."""
        if self._has_workers or not self._plan.settles or NOBODY_PAYS in self._said:
            return False
        if self._report.seconds < LONELY_SECONDS:
            return False
        if self._queries.ask(present):
            self._has_workers = True  # elsewhere
        return not self._has_workers

    def _say_once(self, line: str) -> None:
        if line not in self._said:
            self._said.add(line)
            self._display.say(line)

    def _conclude(self, finished: Finished, *, is_abandoned: bool) -> None:
        """Count what became of this run's orders, and prove it."""
        report, batcher = self._report, self._batcher
        report.received, report.created = batcher.received, batcher.created
        report.duplicates, report.rejected = batcher.duplicates, batcher.rejected
        if not self._plan.settles:
            report.orders_per_second = round(report.received / max(report.seconds, 0.001), 1)
            return
        Conclusion(
            self._ledger, self._before, self._stop, self._display, proves_all=self._plan.proves_all
        ).draw(finished, is_abandoned=is_abandoned)
