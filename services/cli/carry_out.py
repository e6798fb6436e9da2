"""A run from the command line: progress on the way, the report at its end, the exit code.

What runs is in ``services.run``; here is what a person, or a program, sees of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from services.cli import console
from services.cli.common import print_json, say
from services.cli.progress import display as show_progress
from services.pipeline.select import new_pipeline
from services.run import run

if TYPE_CHECKING:
    from services.run import NewPipeline, Plan
    from shared.settings import Settings


def carry_out(
    settings: Settings, plan: Plan, *, as_json: bool = False, pipeline: NewPipeline = new_pipeline
) -> None:
    """Run a plan, and say what came of it.

    Args:
        settings: What is in force; ``read_settings(employs=True)`` reads it and begins.
        plan: What to run.
        as_json: Whether the report is for a program.
        pipeline: Makes what carries the orders and pays them.

    Raises:
        OrderlyError: With the exit code that it means. What was accepted is kept.
        typer.Exit: With 1: not all is settled and verified.
    """
    with show_progress(tells_proof=not as_json) as display:
        finished = run(settings, plan, display, pipeline)
    report = finished.report
    if as_json:
        print_json(report.as_dict() if plan.settles else report.of_intake())
        for line in console.notes(finished):
            say(line)
    else:
        console.print_run_report(finished, settles=plan.settles)
    for problem in [*finished.problems, *finished.violations[:10]]:
        say(problem)
    if finished.error is not None:
        raise finished.error
    if finished.problems or (plan.settles and not report.verified):
        raise typer.Exit(1)
