"""What commands print for people: a run's report, totals, stories and dead letters."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from shared.currencies import format_amount

if TYPE_CHECKING:
    from services.run_report import Finished
    from shared.ledger.dead_letters import DeadLetter
    from shared.ledger.explain import Story

_KINDS_SHOWN = 3

_STATES = {"paid": "green", "declined": "yellow", "dead": "red"}


def print_run_report(finished: Finished, *, settles: bool = True) -> None:
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
    if finished.report.verified and not finished.is_all_proved:
        print("orderly verify proves the whole ledger, and so does run --prove")
    for line in notes(finished):
        print(line)


def notes(finished: Finished) -> list[str]:
    """What a report has to say in sentences."""
    lines = []
    if finished.set_aside is not None:
        lines.append(f"the ledger that was there is now {_shorten(Path(finished.set_aside))}")
    lines += finished.notes
    rejects = finished.rejects
    if rejects.count:
        shown = rejects.kinds.most_common(_KINDS_SHOWN)
        reasons = "; ".join(f"{kind} ({count:,})" for kind, count in shown)
        more = len(rejects.kinds) - len(shown)
        lines.append(
            f"rejected: {reasons}" + (f"; and {plural(more, 'more kind')}" if more else "")
        )
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


def print_story(story: Story) -> None:
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
        ("verified", _verdict(finished)),
        ("ledger", f"{finished.ledger} ({report.mode} mode)"),
    ]
    if report.recovered:
        rows.insert(4, ("recovered", f"{report.recovered:,} of earlier runs"))
    if finished.seed is not None:
        rows.append(("seed", str(finished.seed)))
    return rows


def _verdict(finished: Finished) -> str:
    if not finished.report.verified:
        return "NO" if finished.is_judged else "not proved"
    return "yes" if finished.is_all_proved else "yes, what this run touched"


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
            style = "green" if value.startswith("yes") else "bold red"
        table.add_row(name, Text(value), style=style)
    Console().print(table)
