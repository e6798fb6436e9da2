"""Looking things up in the ledger without holding up the event loop."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeVar

from services.http.threads import Threads

if TYPE_CHECKING:
    from collections.abc import Callable

    import sqlalchemy as sa

    from shared.ledger.ledger import Ledger

T = TypeVar("T")

THREADS = 4
"""As many look-ups at once; more would only take the interpreter from one another."""


class LedgerReader:
    """Runs what waits for the ledger in threads of its own.

    Attributes:
        ledger: Which.
    """

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self._threads = Threads(THREADS, "reading")

    async def read(self, look: Callable[[sa.Connection], T]) -> T:
        """Look something up in one snapshot.

        Raises:
            LedgerUnavailable: The ledger cannot be reached or read.
        """

        def run() -> T:
            with self.ledger.database.read() as connection:
                return look(connection)

        return await self.run(run)

    async def run(self, work: Callable[[], T]) -> T:
        """Do something that may take a moment."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)

    def close(self) -> None:
        """Let go of the threads."""
        self._threads.shutdown()
