"""A source of orders of one's own: a folder into which others drop them, a JSON file for each.

    mkdir inbox; cp examples/tea.json inbox
    python -m examples.own_source inbox

It takes in what is there and what comes, by name, until nothing has come for some seconds. Whoever
drops a file writes it under another name first and then renames it to NAME.json, so that it is
there as a whole or not at all.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import TYPE_CHECKING

from services.cli.carry_out import carry_out
from services.cli.common import read_settings, run_command_line
from services.producer.sources.source import FLUSH, Accepted, Rejected, SourceLine
from services.run import Plan
from shared.errors import InputError, InvalidOrder
from shared.schema import parse_order

if TYPE_CHECKING:
    from services.producer.sources.source import Source

LOOK_SECONDS = 0.1


def orders(inbox: Path, patience: float) -> Source:
    """Yield the orders in a folder, and put each file away once its order is safe."""
    came_at = time.monotonic()
    while time.monotonic() - came_at < patience:
        try:
            # A pipe would keep who reads it waiting, without an end.
            files = [path for path in sorted(inbox.glob("*.json")) if path.is_file()]
            found = {path: read(path) for path in files}
            yield from found.values()
            # Intake journals what it has, and asks for more only when that is done. If this
            # process is killed before it has put a file away, the order comes again: a duplicate.
            yield FLUSH
            for path, order in found.items():
                put_away(path, "taken" if isinstance(order, Accepted) else "refused")
                came_at = time.monotonic()
        except OSError as error:
            why = f"{error.filename}: {error.strerror}"
            raise InputError(f"{why}; see to it, and run it again") from None
        time.sleep(LOOK_SECONDS)


def read(path: Path) -> Accepted | Rejected:
    """Read the order in a file."""
    line = SourceLine(str(path), 1)
    try:
        order, canonical = parse_order(path.read_bytes())
    except InvalidOrder as error:
        return Rejected(line, None, error.reasons)
    return Accepted(line, order, canonical)


def put_away(path: Path, where: str) -> None:
    """Move a file into a folder beside it."""
    folder = path.parent / where
    folder.mkdir(exist_ok=True)
    path.rename(folder / path.name)


def main() -> None:
    """Run it as `orderly run` does, with the same report, proof and exit codes."""
    parser = argparse.ArgumentParser(prog="python -m examples.own_source")
    parser.add_argument("folder", type=Path, help="where the orders are dropped")
    parser.add_argument("--patience", type=float, default=5.0, help="seconds to wait for more")
    arguments = parser.parse_args()
    if not arguments.folder.is_dir():
        raise InputError(f"{arguments.folder}: is no folder; name one that is there")
    settings = read_settings(employs=True)
    source = orders(arguments.folder, arguments.patience)
    carry_out(settings, Plan(sources={str(arguments.folder): source}))


if __name__ == "__main__":
    run_command_line(main)
