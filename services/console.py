"""What a person sees of a run: a progress bar and a table on a terminal, plain lines in a pipe."""

from __future__ import annotations

import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from shared.currencies import format_amount
from shared.texts import LINE, legible

if TYPE_CHECKING:
    from collections.abc import Iterator

    from services.report import Display, Finished, Progress
    from shared.ledger.dead import DeadLetter
    from shared.ledger.reports import Totals

PLAIN_SECONDS = 5.0
"""How often progress is told where no bar can be drawn."""

_STATES = {"paid": "green", "declined": "yellow", "dead": "red"}


@contextmanager
def display() -> Iterator[Display]:
    """Show progress on standard error, in the way that suits it."""
    if not sys.stderr.isatty():
        yield _Lines()
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    bar = Progress(
        TextColumn("{task.description:<9}"),
        BarColumn(bar_width=28),
        TextColumn(
            "[green]paid {task.fields[paid]:>9,}[/]  "
            "[yellow]declined {task.fields[declined]:>8,}[/]"
            "  {task.fields[rate]:>7,.0f} orders/s"
        ),
        TimeElapsedColumn(),
        console=Console(stderr=True),
        transient=True,
    )
    with bar:
        yield _Bar(bar)


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

    def update(self, progress: Progress) -> None:
        found = progress.totals
        settled = found.paid + found.declined + found.dead
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

    def __init__(self) -> None:
        self._next = time.monotonic() + PLAIN_SECONDS

    def say(self, line: str) -> None:
        print(f"orderly: {legible(line, LINE)}", file=sys.stderr, flush=True)

    def update(self, progress: Progress) -> None:
        if time.monotonic() < self._next:
            return
        self._next += PLAIN_SECONDS
        found = progress.totals
        print(
            f"{progress.phase}: received {progress.received:,}, paid {found.paid:,}, "
            f"declined {found.declined:,}, dead {found.dead:,}, open {found.open:,}",
            file=sys.stderr,
            flush=True,
        )


def print_report(finished: Finished, *, settles: bool = True) -> None:
    """Print a run's report on standard output, for people."""
    rows = _rows(finished)
    if not settles:
        told = {*finished.report.of_intake(), "time", "ledger", "seed"}
        rows = [row for row in rows if row[0] in told]
    if sys.stdout.isatty():
        _print_table(rows)
    else:
        for name, value in rows:
            print(f"{name:<16} {value}")
    for line in notes(finished):
        print(line)


def notes(finished: Finished) -> list[str]:
    """What a report has to say in sentences."""
    lines = []
    if finished.set_aside is not None:
        lines.append(f"the ledger that was there is now {_shorten(Path(finished.set_aside))}")
    rejects = finished.rejects
    if rejects.count:
        reasons = "; ".join(f"{kind} ({count:,})" for kind, count in rejects.kinds.most_common(3))
        lines.append(f"rejected: {reasons}")
        lines.append(f"see {_shorten(rejects.path)}")
    return lines


def _shorten(path: Path) -> Path:
    here = Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path


def print_mapping(rows: list[tuple[str, str]]) -> None:
    """Print names and values, aligned."""
    width = max((len(name) for name, _ in rows), default=0)
    for name, value in rows:
        print(f"{name:<{width}}  {value}")


def equation(found: Totals) -> str:
    """Write the sum that must always come out, and whether it does."""
    settled = found.paid + found.declined + found.dead
    tick = "✓" if found.created == settled + found.open else "✗"
    return (
        f"created {found.created:,} = paid {found.paid:,} + declined {found.declined:,} "
        f"+ dead {found.dead:,} + open {found.open:,} {tick}"
    )


def print_story(story: dict[str, Any]) -> None:
    """Print one order's story as a timeline."""
    currency = story["currency"]
    print_mapping(
        [
            ("order", story["order_id"]),
            ("customer", story["customer_id"]),
            ("status", story["status"]),
            ("total", f"{format_amount(story['total'], currency)} {currency}"),
            ("place", f"partition {story['partition']}, number {story['number']}"),
            ("attempts", str(story["attempts"])),
        ]
    )
    for event in story["history"]:
        details = ", ".join(
            f"{name.replace('_', ' ')} {value}"
            for name, value in event.items()
            if name not in {"at", "event"} and value is not None
        )
        print(f"  {event['at']}  {event['event']:<9} {details}")
    for transfer in story["transfers"]:
        amount = format_amount(transfer["amount"], transfer["currency"])
        print(
            f"  {transfer['at']}  transfer  {amount} {transfer['currency']} "
            f"from {transfer['debit']} to {transfer['credit']}"
        )


def print_dead(letters: list[DeadLetter]) -> None:
    """Print dead letters, one a line."""
    width = max((len(letter.order_id) for letter in letters), default=0)
    for letter in letters:
        amount = f"{format_amount(letter.amount, letter.currency)} {letter.currency}"
        mark = "  (discarded)" if letter.discarded_at else ""
        print(
            f"{letter.order_id:<{width}}  {amount:>16}  attempts {letter.attempts}  "
            f"{letter.reason}{mark}"
        )
    print(plural(len(letters), "dead order"))


def plural(count: int, what: str) -> str:
    """Count things: ``1 dead order``, ``2,000 dead orders``."""
    return f"{count:,} {what}" + ("" if count == 1 else "s")


def money(amounts: dict[str, int]) -> str:
    """Write amounts by currency for people."""
    return ", ".join(f"{format_amount(amount, code)} {code}" for code, amount in amounts.items())


def _rows(finished: Finished) -> list[tuple[str, str]]:
    report = finished.report
    rows = [
        ("received", f"{report.received:,}"),
        ("created", f"{report.created:,}"),
        ("duplicates", f"{report.duplicates:,}"),
        ("rejected", f"{report.rejected:,}"),
        ("paid", f"{report.paid:,}"),
        ("declined", f"{report.declined:,}"),
        ("dead", f"{report.dead:,}"),
        ("open", f"{report.open:,}"),
        ("money taken", money(report.paid_amount) or "none"),
        ("time", f"{report.seconds:.2f} s, {report.orders_per_second:,.0f} orders/s"),
        ("verified", "yes" if report.verified else "NO"),
        ("ledger", f"{finished.ledger} ({report.mode} mode)"),
    ]
    if report.recovered:
        rows.insert(4, ("recovered", f"{report.recovered:,} of earlier runs"))
    if finished.seed is not None:
        rows.append(("seed", str(finished.seed)))
    return rows


def _print_table(rows: list[tuple[str, str]]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    table.add_column(style="bold")
    table.add_column()
    for name, value in rows:
        style = _STATES.get(name, "")
        if name == "verified":
            style = "green" if value == "yes" else "bold red"
        table.add_row(name, Text(value), style=style)
    Console().print(table)
