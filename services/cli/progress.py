"""How a run or a proof is getting on: a bar on a terminal, a line every few seconds in a pipe."""

from __future__ import annotations

import sys
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from shared.texts import LINE, legible

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from services.run_report import Display, Progress

PLAIN_SECONDS = 5.0
"""How often progress is told where no bar can be drawn."""

PROVING = "verifying"


@contextmanager
def display(*, tells_proof: bool = True) -> Iterator[Display]:
    """Show progress on standard error, in the way that suits it.

    Args:
        tells_proof: Whether lines are printed while a proof is under way.
    """
    if not sys.stderr.isatty():
        yield _Lines(tells_proof=tells_proof)
        return
    with _bar(
        "[green]paid {task.fields[paid]:>9,}[/]  "
        "[yellow]declined {task.fields[declined]:>8,}[/]"
        "  {task.fields[rate]:>7,.0f} orders/s"
    ) as bar:
        yield _Bar(bar)


@contextmanager
def proof_display(*, is_quiet: bool) -> Iterator[Callable[[float], None]]:
    """Show on standard error which share of a proof is done."""
    if is_quiet:
        yield lambda _: None
    elif not sys.stderr.isatty():
        yield _Lines().prove
    else:
        with _bar("{task.percentage:>3.0f}%") as bar:
            task = bar.add_task(PROVING, total=1.0)
            yield lambda share: bar.update(task, completed=share)


def _bar(text: str) -> Any:  # noqa: ANN401  rich is imported only where it is used
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    return Progress(
        TextColumn("{task.description:<9}"),
        BarColumn(bar_width=28),
        TextColumn(text),
        TimeElapsedColumn(),
        console=Console(stderr=True),
        transient=True,
    )


class _Rate:
    """Orders settled per second, over the last second or so."""

    def __init__(self) -> None:
        self._marks: list[tuple[float, int]] = []

    def update(self, settled: int) -> float:
        now = time.monotonic()
        self._marks.append((now, settled))
        while len(self._marks) > 2 and now - self._marks[1][0] > 1:  # noqa: PLR2004
            self._marks.pop(0)
        since, before = self._marks[0]
        return (settled - before) / (now - since) if now > since else 0.0


class _Bar:
    """A bar that fills with what is settled of what there is to settle."""

    def __init__(self, bar: Any) -> None:  # noqa: ANN401  rich is imported only where it is used
        self._bar = bar
        self._task = bar.add_task("starting", total=None, paid=0, declined=0, rate=0.0)
        self._rate = _Rate()

    def say(self, line: str) -> None:
        self._bar.console.print(legible(line, LINE), markup=False, highlight=False)

    def prove(self, share: float) -> None:
        self._bar.update(self._task, description=PROVING, completed=share, total=1.0)

    def update(self, progress: Progress) -> None:
        found = progress.totals
        settled = found.settled
        total = None
        if progress.share:
            # What was read so far, stretched to the whole input.
            total = (settled + found.open) / progress.share
        self._bar.update(
            self._task,
            description=progress.phase,
            completed=settled,
            total=total,
            paid=found.paid,
            declined=found.declined,
            rate=self._rate.update(settled),
        )


class _Lines:
    """A line every few seconds."""

    def __init__(self, *, tells_proof: bool = True) -> None:
        self._tells_proof = tells_proof
        self._next = time.monotonic() + PLAIN_SECONDS

    def say(self, line: str) -> None:
        _tell(f"orderly: {legible(line, LINE)}")

    def prove(self, share: float) -> None:
        if self._tells_proof and self._is_due():
            _tell(f"{PROVING}: {share:.0%}")

    def update(self, progress: Progress) -> None:
        if not self._is_due():
            return
        found = progress.totals
        _tell(
            f"{progress.phase}: received {progress.received:,}, paid {found.paid:,}, "
            f"declined {found.declined:,}, dead {found.dead:,}, open {found.open:,}"
        )

    def _is_due(self) -> bool:
        now = time.monotonic()
        if now < self._next:
            return False
        self._next = now + PLAIN_SECONDS
        return True


def _tell(line: str) -> None:
    with suppress(OSError, ValueError):  # nobody listens any more; that ends nothing
        print(line, file=sys.stderr, flush=True)
