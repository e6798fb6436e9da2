"""The bank of a pipeline's own, in local mode: started with it, replaced if it dies, ended last."""

from __future__ import annotations

import secrets
import time
from typing import TYPE_CHECKING

from pydantic import SecretStr

from services.processes.fork_server import WorkerProcess, reap
from services.processes.listening import bind, url_of
from services.processes.signals import withheld
from shared.errors import BookUnavailable
from shared.logs import Logger
from shared.resilience import Backoff

if TYPE_CHECKING:
    from multiprocessing.connection import Connection
    from multiprocessing.context import SpawnContext, SpawnProcess

    from shared.ledger.ledger import Ledger
    from shared.settings import Settings

BOOT_SECONDS = 30.0
"""How long it may take to its first sign of life; imports are slow on a busy machine."""

STOP_SECONDS = 5.0

log = Logger("bank")


class OwnBank:
    """A process that is a bank, on a port that is kept for it.

    Its book lies beside the ledger, and others may have it open: each run and each service of the
    ledger has a bank of its own, and what one has charged the others know.

    Args:
        ledger: Whose orders it takes money for.
        settings: The pipeline's.
        context: Makes what a process is given.
    """

    def __init__(self, ledger: Ledger, settings: Settings, context: SpawnContext) -> None:
        self._context = context
        self._book = ledger.database.backend.beside("bank.db")
        token = settings.api_token.get_secret_value() or secrets.token_urlsafe(24)
        self._listener = bind("127.0.0.1", 0, "BANK_URL")
        self._url = url_of(self._listener)
        theirs = {"api_token": SecretStr(token), "opening_balance": ledger.opening_balance}
        self._settings = settings.model_copy(update=theirs)
        self.for_workers = settings.model_copy(
            update={
                "api_token": SecretStr(token),
                "bank_url": self._url,
                "gateway_token_file": "",
            }
        )
        """The pipeline's settings, with where the bank is and the token that it asks for."""
        self._process: SpawnProcess | None = None
        self._line: Connection | None = None
        self._backoff = Backoff(least=0.1)
        self._again_at: float | None = None

    def start(self) -> None:
        """Start it, and wait until it takes charges. Call it from the main thread.

        Raises:
            BookUnavailable: It cannot.
        """
        self._launch()
        why = self._hear(BOOT_SECONDS)
        if why is None:
            why = f"the bank has not said within {BOOT_SECONDS:g} s that it takes charges"
        if why:
            self.kill()
            raise BookUnavailable(why)
        if self._settings.chaos:
            log.info("the bank may be broken", url=self._url, book=str(self._book))

    def watch(self) -> None:
        """Replace it if it is dead; call it again and again from the main thread."""
        process = self._process
        if process is None or (process.exitcode is None and self._again_at is None):
            return
        if self._again_at is None:
            why = self._hear(0.0) or f"its process ended with {process.exitcode}"
            log.warning("bank lost", pid=process.pid, why=why)
            self._again_at = time.monotonic() + (self._backoff.grow() if process.exitcode else 0.0)
        if time.monotonic() >= self._again_at:
            self._again_at = None
            self._launch()
            log.warning("bank replaced", new_pid=self._process and self._process.pid)

    def stop(self) -> None:
        """Let it finish what it was asked, and end it."""
        if self._process is not None:
            self._process.terminate()
            self._process.join(STOP_SECONDS)
        self.kill()

    def kill(self) -> None:
        """End it at once. What it has charged is in its book."""
        if self._process is not None:
            self._process.kill()
            reap(self._process)
            self._process = None
        self._listener.close()

    def _launch(self) -> None:
        from services.bank.child import BankTask, main  # noqa: PLC0415  few have need of it

        self._line, theirs = self._context.Pipe(duplex=False)
        task = BankTask(self._settings, self._listener, self._book, theirs)
        process = WorkerProcess(target=main, args=(task,), name="bank", daemon=True)
        with withheld():
            process.start()
        theirs.close()
        self._process = process

    def _hear(self, seconds: float) -> str | None:
        """Hear what it says of its start: nothing is fine, and None is no word."""
        try:
            if self._line is not None and self._line.poll(seconds):
                return str(self._line.recv())
        except EOFError:
            return "the bank ended before it took charges"
        return None
