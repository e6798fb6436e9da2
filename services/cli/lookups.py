"""The commands that read a ledger and change nothing."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from services.cli.common import AsJson, handling_errors, print_json, read_settings, reading, say
from shared.errors import UsageError

if TYPE_CHECKING:
    from shared.ledger.verification.proof import Proof


@handling_errors
def status(as_json: AsJson = False) -> None:
    """Count the orders by what became of them."""
    from services.cli.console import money, print_mapping
    from services.pipeline.select import queue_trouble
    from shared.ledger.status import read_status

    settings = read_settings()
    with reading(settings) as (ledger, connection):
        report = read_status(settings, ledger, connection)
    report = report.with_trouble(queue_trouble(settings, ledger.ledger_id))
    if as_json:
        print_json(report.as_dict())
        return
    print(report.totals.equation)
    rows = [("money taken", money(report.totals.paid_amount) or "none")]
    rows += [("ledger", f"{report.ledger} ({report.mode} mode)")]
    rows += (
        [("queue depth", f"{report.queue_depth:,}")]
        if report.workers
        else [("workers", "none at present")]
    )
    rows += [("Redis is away", report.queue_trouble)] if report.queue_trouble else []
    if report.gateway is not None:
        calls = (
            "it is away; orders wait"
            if report.is_gateway_away
            else f"calls out {report.calls_out:,}"
        )
        rows += [("gateway", f"{report.gateway}, {calls}, in doubt {report.in_doubt:,}")]
    rows += [
        (
            f"worker {each.slot}",
            f"{each.worker}, {each.state}, settled {each.settled:,}, restarts {each.restarts}",
        )
        for each in report.workers
    ]
    print_mapping(rows)


@handling_errors
def verify(as_json: AsJson = False) -> None:
    """Prove the ledger, from journal and transfers."""
    proof = _prove(is_quiet=as_json)
    if as_json:
        print_json(proof.as_dict())
    else:
        print(proof.totals.equation)
        for found in proof.violations:
            print(f"{found.check}: {found.where}: {found.message}")
        if proof.more:
            print(f"and {proof.more:,} more")
        print("verified" if proof.ok else "NOT verified")
    if not proof.ok:
        raise typer.Exit(1)


def _prove(*, is_quiet: bool) -> Proof:
    """Prove the ledger, and show how far that is; a signal ends it."""
    from services.background_proof import Stopped, prove
    from services.cli.progress import proof_display
    from services.processes.signals import StopRequests
    from shared.ledger.ledger import open_ledger
    from shared.ledger.verification.verify import verify as check

    ledger = open_ledger(read_settings(), create=False)
    stop = StopRequests()
    with stop.handled():
        try:
            with proof_display(is_quiet=is_quiet) as show:
                return prove(
                    ledger.database,
                    lambda connection, step: check(ledger, connection, step),
                    is_over=stop.drain.is_set,
                    show=show,
                )
        except Stopped:
            say("stopped before the proof was done")
            raise typer.Exit(128 + stop.number) from None  # as a shell says it
        finally:
            ledger.database.close()


@handling_errors
def explain(
    order_id: Annotated[str, typer.Argument(metavar="ORDER_ID")], as_json: AsJson = False
) -> None:
    """Tell one order's whole story."""
    from services.cli.console import print_story
    from shared.ledger.explain import explain as tell

    with reading(read_settings()) as (_, connection):
        story = tell(connection, order_id)
    if story is None:
        raise UsageError(f"order {order_id!r} was never accepted")
    if as_json:
        print_json(story)
    else:
        print_story(story)


@handling_errors
def journal() -> None:
    """Print the accepted orders as JSONL, in serial order."""
    from shared.ledger.entries import accepted_orders
    from shared.schema import encode_order

    with reading(read_settings()) as (_, connection):
        for _partition, _number, order in accepted_orders(connection):
            sys.stdout.buffer.write(encode_order(order) + b"\n")
    sys.stdout.buffer.flush()
