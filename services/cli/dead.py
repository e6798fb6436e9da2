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
    help="Dead orders: list, retry, settle or discard them.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
LOOK_THERE = (
    "they may have been charged: look at the backend, then orderly dead retry --not-charged ID, "
    "or orderly dead settle --charged REFERENCE ID"
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
def retry(
    order_ids: OrderIds = None,
    everything: Everything = False,
    not_charged: Annotated[
        bool,
        typer.Option("--not-charged", help="The backend has not charged those that are in doubt."),
    ] = False,
) -> None:
    """Open dead orders again.

    They are settled by a running pipeline, or by the next run. --all leaves out those that were
    discarded, and those in doubt, which may have been charged: look at the backend, and name them.
    """
    from services.cli.console import plural
    from shared.ledger import dead

    _check(order_ids, everything=everything)
    if everything and not_charged:
        raise UsageError("name the orders that were not charged; --all does not go with it")
    ledger = _open()
    left = in_doubt = 0
    if order_ids:
        letters = _named(ledger, order_ids)
        if not not_charged:
            _check_certain(letters)
        messages = dead.retry(ledger, letters, not_charged=not_charged)
    else:
        messages, left, in_doubt = dead.retry_all(ledger)
    retried = len(messages)
    print(f"{plural(retried, 'dead order')} open again, for a running pipeline or the next run")
    if left:
        print(f"{plural(left, 'discarded order')} left out; name one to retry it")
    if in_doubt:
        print(f"{plural(in_doubt, 'order')} in doubt left out; {LOOK_THERE}")


@app.command("settle")
@handling_errors
def settle(
    order_id: Annotated[str, typer.Argument(metavar="ORDER_ID")],
    charged: Annotated[
        str, typer.Option("--charged", metavar="REFERENCE", help="What the backend calls it.")
    ],
) -> None:
    """Have a dead order paid that the backend has charged.

    It is paid at the end of its partition, without another call, by a running pipeline or by the
    next run.
    """
    from shared.ledger import dead

    if not charged.strip():
        raise UsageError("--charged needs the backend's reference of the charge")
    ledger = _open()
    (letter,) = _named(ledger, [order_id])
    if not dead.settle_charged(ledger, letter, charged.strip()):
        raise UsageError(f"not dead: {order_id}; nothing was changed")
    print(f"{order_id} is paid, as {charged.strip()}, by a running pipeline or the next run")


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


def _check_certain(letters: list[DeadLetter]) -> None:
    doubtful = [letter.order_id for letter in letters if letter.doubtful_since is not None]
    if doubtful:
        raise UsageError(
            f"in doubt: {', '.join(doubtful[:5])}{', ...' if len(doubtful) > 5 else ''}; "  # noqa: PLR2004
            f"{LOOK_THERE}; nothing was changed"
        )


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
