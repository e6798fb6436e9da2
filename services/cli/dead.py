"""``orderly dead``: what became of orders that could not be paid for is decided here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from services.cli.common import AsJson, handling_errors, print_json, read_settings, reading
from shared.errors import UsageError

if TYPE_CHECKING:
    from shared.ledger.dead_letters import DeadLetter
    from shared.ledger.ledger import Ledger

app = typer.Typer(
    help="Dead orders: list, retry or discard them.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
OrderIds = Annotated[list[str] | None, typer.Argument(metavar="ORDER_ID")]
Everything = Annotated[bool, typer.Option("--all", help="Every dead order.")]


@app.command("list")
@handling_errors
def list_(as_json: AsJson = False) -> None:
    """List the dead orders."""
    from services.cli.console import print_dead
    from shared.ledger.dead_letters import dead_letters

    with reading(read_settings()) as (_, connection):
        letters = dead_letters(connection)
    if as_json:
        print_json([letter.as_dict() for letter in letters])
    else:
        print_dead(letters)


@app.command("retry")
@handling_errors
def retry(order_ids: OrderIds = None, everything: Everything = False) -> None:
    """Open dead orders again.

    They are settled by a running pipeline, or by the next run. --all leaves out those that were
    discarded.
    """
    from services.cli.console import plural
    from shared.ledger import dead

    _check(order_ids, everything=everything)
    ledger = _open()
    if order_ids:
        retried, left = len(dead.retry(ledger, _named(ledger, order_ids))), 0
    else:
        messages, left = dead.retry_all(ledger)
        retried = len(messages)
    print(f"{plural(retried, 'dead order')} open again, for a running pipeline or the next run")
    if left:
        print(f"{plural(left, 'discarded order')} left out; name one to retry it")


@app.command("discard")
@handling_errors
def discard(order_ids: OrderIds = None, everything: Everything = False) -> None:
    """Mark dead orders as dealt with; they stay dead."""
    from services.cli.console import plural
    from shared.ledger import dead

    _check(order_ids, everything=everything)
    ledger = _open()
    letters = _named(ledger, order_ids)
    print(f"{plural(dead.discard(ledger, letters), 'dead order')} marked as discarded")
    if before := sum(letter.discarded_at is not None for letter in letters):
        print(f"{plural(before, 'order')} marked already")


def _check(order_ids: list[str] | None, *, everything: bool) -> None:
    if bool(order_ids) == everything:
        raise UsageError("name the orders, or say --all")


def _open() -> Ledger:
    from shared.ledger.ledger import open_ledger

    return open_ledger(read_settings(), create=False)


def _named(ledger: Ledger, order_ids: list[str] | None) -> list[DeadLetter]:
    """Find the dead letters that are named, or all."""
    from shared.ledger.dead_letters import dead_letters

    with ledger.database.read() as connection:
        letters = dead_letters(connection, order_ids)
    missing = set(order_ids or ()) - {letter.order_id for letter in letters}
    if missing:
        raise UsageError(f"not dead: {', '.join(sorted(missing))}; nothing was changed")
    return letters
