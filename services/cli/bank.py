"""The command that runs a payment backend to break."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from services.cli.common import handling_errors, read_settings, say


@handling_errors
def bank(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port to listen on; 0 is any free one.")
    ] = 8100,
    book: Annotated[Path, typer.Option(help="The file that it keeps its book in.")] = Path(
        "var/bank.db"
    ),
) -> None:
    """Take charges over HTTP as a payment backend would, until a signal ends it.

    With CHAOS=1 it fails on demand: PUT /faults.
    """
    settings = read_settings()

    from services.bank.server import run_bank

    run_bank(settings, host, port, book, say)
