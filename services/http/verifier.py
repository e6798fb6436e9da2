"""Proving the ledger on request, in a process of its own: here it would hold up every request.

One proof at a time. Whoever asks while one runs gets the next one: a proof says how the ledger is
from its beginning on, and should have begun after it was asked for. All who wait for the next one
share it. A proof that nobody waits for any more is ended.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

from services.http.problems import Problem

MOST_WAITING = 64
"""Requests that may wait for proofs; each holds its connection open."""


class Verifier:
    """Runs ``orderly verify``, one at a time."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="proving")
        self._waiting = 0
        self._is_closed = False
        self._current: _Proof | None = None
        self._next: _Proof | None = None

    async def prove(self) -> bytes:
        """Prove the ledger as it is now; return what ``orderly verify --json`` prints.

        Raises:
            Problem: The ledger cannot be read, too many wait, or the service is stopping.
        """
        if self._is_closed:
            raise Problem("stopping")
        if self._waiting >= MOST_WAITING:
            raise Problem("too-many-proofs")
        proof = self._join()
        self._waiting += 1
        proof.waiting += 1
        try:
            return await asyncio.shield(proof.answer)
        finally:
            self._waiting -= 1
            proof.waiting -= 1
            if not proof.waiting:
                self._abandon(proof)

    def close(self) -> None:
        """End at once, whoever waits; from any thread."""
        self._is_closed = True
        if (current := self._current) is not None:
            current.end()
        self._thread.shutdown(wait=False)

    def _join(self) -> _Proof:
        """Find the proof that begins next, which may be at once."""
        if self._current is None:
            self._current = _Proof()
            self._begin(self._current)
            return self._current
        self._next = self._next or _Proof()
        return self._next

    def _begin(self, proof: _Proof) -> None:
        loop = asyncio.get_running_loop()
        running = loop.run_in_executor(self._thread, proof.run)
        running.add_done_callback(lambda done: self._finish(proof, done))

    def _finish(self, proof: _Proof, done: asyncio.Future[bytes]) -> None:
        self._current, self._next = self._next, None
        if self._current is not None and self._is_closed:
            self._current.answer.set_exception(Problem("stopping"))
        elif self._current is not None:
            self._begin(self._current)
        if proof.answer.done() or done.cancelled():
            return
        error = done.exception()
        if not proof.waiting:
            proof.answer.cancel()
        elif self._is_closed:
            proof.answer.set_exception(Problem("stopping"))
        elif error is not None:
            proof.answer.set_exception(error)
        else:
            proof.answer.set_result(done.result())

    def _abandon(self, proof: _Proof) -> None:
        if proof is self._next:
            self._next = None
        elif proof is self._current:
            proof.end()


class _Proof:
    """One run of the command.

    Attributes:
        answer: What it printed.
        waiting: How many wait for that.
    """

    def __init__(self) -> None:
        self.answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self.waiting = 0
        self._is_unwanted = False
        self._process: subprocess.Popen[bytes] | None = None

    def run(self) -> bytes:
        """Run it to its end, or until it is ended; from a thread that may wait.

        Raises:
            Problem: The ledger cannot be read.
        """
        with subprocess.Popen(
            [sys.executable, "-m", "services", "verify", "--json"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        ) as self._process:
            if self._is_unwanted:
                self._process.kill()
            proof, said = self._process.communicate()
        if not proof:
            why = said.decode(errors="replace").strip().removeprefix("orderly: ")
            raise Problem("ledger-unavailable", why)
        return proof

    def end(self) -> None:
        """End it at once, also if it has yet to begin."""
        self._is_unwanted = True
        if self._process is not None:
            self._process.kill()
