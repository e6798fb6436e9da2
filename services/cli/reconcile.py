"""The command that compares an outside gateway's book with the ledger."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from services.cli.common import AsJson, handling_errors, print_json, read_settings

if TYPE_CHECKING:
    from services.reconciling.compare import Comparison


@handling_errors
def reconcile(
    as_json: AsJson = False,
    repairs: Annotated[
        bool,
        typer.Option("--repair", help="Have orders settled as the book says, where that is clear."),
    ] = False,
) -> None:
    """Compare the gateway's book with the ledger; ends with 1 if something differs.

    --repair writes no outcome: a running pipeline, or the next run, settles what was filed.
    """
    from services.reconcile import reconcile as compare

    found = compare(read_settings(), repairs=repairs)
    if as_json:
        print_json(found.as_dict())
    else:
        _print(found)
    if not found.ok:
        raise typer.Exit(1)


def _print(found: Comparison) -> None:
    from services.cli.console import plural

    for each in found.differences:
        done = f"; {each.done}" if each.done else ""
        print(
            f"{each.kind}: {each.order_id}: the ledger says {each.ledger_says}, "
            f"the book {each.book_says}{done}"
        )
    print(f"{plural(found.charges, 'charge')} of this ledger in the book of {found.gateway}")
    if found.under_way:
        print(f"{plural(found.under_way, 'charged order')} under way")
    if found.recent:
        print(f"{plural(found.recent, 'paid order')} too recent to be in the book for certain")
    count = sum(not each.is_listed_only for each in found.differences)
    print("nothing differs" if found.ok else plural(count, "difference"))
