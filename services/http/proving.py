"""Proving the ledger on request, in a process of its own: here it would hold up every request."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

from services.http.problems import Problem


class Prover:
    """Runs ``orderly verify``, one at a time."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="proving")
        self._running: subprocess.Popen[bytes] | None = None

    async def prove(self) -> bytes:
        """Prove the ledger as it is now; return what ``orderly verify --json`` prints.

        Raises:
            Problem: The ledger cannot be read.
        """
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._prove)

    def close(self) -> None:
        """End at once; nobody waits for the proof any more."""
        self._thread.shutdown(wait=False, cancel_futures=True)
        if self._running is not None:
            self._running.kill()

    def _prove(self) -> bytes:
        with subprocess.Popen(
            [sys.executable, "-m", "services", "verify", "--json"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        ) as self._running:
            proof, said = self._running.communicate()
        if not proof:
            why = said.decode(errors="replace").strip().removeprefix("orderly: ")
            raise Problem("ledger-unavailable", why)
        return proof
