"""The bank as a child of the pipeline that it takes money for: it has no other clients."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from services.bank.server import serve_bank
from services.processes.child import call_it, follow_parent, leave_signals_to_parent
from services.processes.signals import StopRequests
from shared.errors import OrderlyError
from shared.logs import set_up_logs

if TYPE_CHECKING:
    import socket
    from multiprocessing.connection import Connection
    from pathlib import Path

    from shared.settings import Settings


@dataclass(frozen=True)
class BankTask:
    """What it is started with.

    Attributes:
        settings: The bank's.
        listener: Where it is called; its parent has it, too, so that a replacement is at the same
            place, and whoever calls meanwhile waits for that.
        book: The file that it keeps its book in.
        line: Where it says that it takes charges, with an empty text, or why it cannot.
    """

    settings: Settings
    listener: socket.socket
    book: Path
    line: Connection


def main(task: BankTask) -> None:
    """Be the bank, until the parent ends it or ends."""
    leave_signals_to_parent()
    follow_parent()
    call_it("orderly-bank")
    set_up_logs(task.settings)
    stop = StopRequests()
    try:
        with stop.handled():
            serve_bank(task.settings, task.listener, task.book, stop, lambda _: task.line.send(""))
    except OrderlyError as error:
        task.line.send(str(error))
        raise SystemExit(error.exit_code) from None
