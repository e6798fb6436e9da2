"""From a source to intake: gathers orders into blocks, waits where the pipeline is full."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from services.producer.sources.source import FLUSH, Accepted, Rejected, Stopped
from shared.errors import Backlogged, Reason
from shared.ledger.journal import Verdict

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Iterable

    from services.producer.intake import Intake
    from services.producer.rejects import Rejects
    from services.producer.sources.source import Incoming, Source, SourceLine
    from shared.ledger.journal import Appended, Candidate

    OnVerdict = Callable[[Verdict, str], None]

BLOCK_BYTES = 4 * 1024 * 1024
BACKLOG_SECONDS = 0.02
"""How long to wait before asking again whether there is room."""

CONFLICT = Reason("order_id", "was accepted before with other content")


class Batcher:
    """Feeds sources to intake, until they end or ``stop`` is set.

    Attributes:
        received: Orders read so far: the sum of the other three.
        created: Those that are new.
        duplicates: Those that were accepted before, with the same content.
        rejected: Those that are invalid, or were accepted before with other content.
        ends: The last number that this batcher wrote, by partition.
    """

    def __init__(self, intake: Intake, rejects: Rejects, stop: threading.Event) -> None:
        self._intake = intake
        self._rejects = rejects
        self._stop = stop
        self._block: list[Candidate] = []
        self._lines: list[SourceLine] = []
        self._block_bytes = 0
        self._on_verdict: OnVerdict | None = None
        self.created = 0
        self.duplicates = 0
        self.ends: dict[int, int] = {}

    @property
    def rejected(self) -> int:
        """Orders that were refused, one way or the other."""
        return self._rejects.count

    @property
    def received(self) -> int:
        """Orders read so far."""
        return self.created + self.duplicates + self.rejected

    def consume(self, source: Source, on_verdict: OnVerdict | None = None) -> bool:
        """Take in a source; return whether it was taken in to its end.

        What was gathered before an error is journalled before the error goes on.

        Args:
            source: What to take in.
            on_verdict: Called for each order with what became of it, and its id.

        Raises:
            LedgerUnavailable: The last block was not accepted.
            InputError, CutOff: As the source does.
        """
        self._on_verdict = on_verdict
        try:
            is_whole = self._take_all(source)
        finally:
            was_accepted = self._deliver()
            self._rejects.flush()
        return is_whole and was_accepted

    def _take_all(self, source: Source) -> bool:
        try:
            for incoming in source:
                if not self._take(incoming) or self._stop.is_set():
                    return False
        except Stopped:
            return False
        return True

    def _take(self, incoming: Incoming) -> bool:
        if isinstance(incoming, Accepted):
            self._block.append(self._intake.candidate(incoming.order, incoming.canonical))
            self._lines.append(incoming.source_line)
            self._block_bytes += len(incoming.canonical)
            if len(self._block) >= self._intake.block_orders or self._block_bytes > BLOCK_BYTES:
                return self._deliver()
        elif isinstance(incoming, Rejected):
            self._rejects.add(incoming)
        else:
            return self._deliver()
        return True

    def _deliver(self) -> bool:
        """Hand the block over as soon as there is room; False if a request to stop came first."""
        block, lines = self._block, self._lines
        self._block, self._lines, self._block_bytes = [], [], 0
        while block:
            try:
                appended = self._intake.accept(block)
            except Backlogged:
                if self._stop.wait(BACKLOG_SECONDS):
                    return False
            else:
                self._count(appended, block, lines)
                break
        return True

    def _count(self, appended: Appended, block: list[Candidate], lines: list[SourceLine]) -> None:
        self.ends |= appended.ends
        # Counted before anything is written down, which may fail.
        self.created += appended.verdicts.count(Verdict.CREATED)
        self.duplicates += appended.verdicts.count(Verdict.DUPLICATE)
        if self._on_verdict is not None:
            for verdict, candidate in zip(appended.verdicts, block, strict=True):
                self._on_verdict(verdict, candidate.order_id)
        for verdict, candidate, source_line in zip(appended.verdicts, block, lines, strict=True):
            if verdict is Verdict.CONFLICT:
                self._rejects.add(Rejected(source_line, candidate.order_id, [CONFLICT]))


def at_rate(source: Iterable[Incoming], rate: float, stop: threading.Event) -> Source:
    """Slow a source down to ``rate`` orders per second."""
    started = time.monotonic()
    orders = 0
    for incoming in source:
        yield incoming
        orders += incoming is not FLUSH
        ahead = orders / rate - (time.monotonic() - started)
        if ahead > 0.01:  # noqa: PLR2004  shorter sleeps are not worth a transaction
            yield FLUSH
            stop.wait(ahead)
