"""Many orders in one request: lines in, an answer for each, at the pace of the pipeline.

While the pipeline is full nothing more is read, and TCP slows the sender down. Answers are kept
until the body has been read, so that a sender who sends everything before it reads cannot deadlock
with us: those of a long body in a temporary file.
"""

from __future__ import annotations

import asyncio
import json
import tempfile
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING

from services.producer.door import Overrun
from services.producer.feed import BACKLOG_SECONDS, CONFLICT
from services.producer.jsonl_orders import TOO_LONG, read_id
from services.producer.streams import LineSplitter
from shared.errors import InvalidOrder, LedgerUnavailable, LedgerUncertain
from shared.ledger.journal import Verdict
from shared.schema import parse_order

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from services.http.metrics import IntakeMetrics
    from services.producer.door import Door
    from services.producer.intake import Intake
    from services.producer.streams import Line
    from shared.ledger.journal import Candidate

MOST_BYTES = 1024 * 1024 * 1024
"""A longer body is refused: its answers have to be kept somewhere."""

_CLOSING_SECONDS = 0.25
_SPOOL_BYTES = 4 * 1024 * 1024
_CODES = {Verdict.CREATED: 202, Verdict.DUPLICATE: 200, Verdict.CONFLICT: 409}
_VERDICTS = {
    202: "created",
    200: "duplicate",
    409: "conflict",
    422: "invalid",
    503: "unavailable",
    504: "unknown",
}


@dataclass(slots=True)
class _Entry:
    """A line and its answer."""

    line: int
    order_id: str | None
    candidate: Candidate | None = None
    code: int = 503
    error: str | None = None


class Bulk:
    """Takes in one body."""

    def __init__(self, door: Door, intake: Intake, metrics: IntakeMetrics) -> None:
        self._door = door
        self._intake = intake
        self._metrics = metrics
        self._answers: IO[bytes] = tempfile.SpooledTemporaryFile(_SPOOL_BYTES)  # noqa: SIM115
        self._refusal: str | None = None

    async def take(self, body: AsyncIterator[bytes]) -> None:
        """Take every line in, in order; return when the body has been read.

        Once a line could not be accepted no later one is, so that a sender who sends the rest
        again keeps its order. A line without an answer was not accepted.
        """
        splitter = LineSplitter()
        size = 0
        while (chunk := await self._next(body)) is not None:
            size += len(chunk)
            if size > MOST_BYTES:
                too_long = f"the body has more than {MOST_BYTES:,} bytes; send the rest by itself"
                self._write([_Entry(splitter.number, None, code=422, error=too_long)])
                return
            await self._take(splitter.feed(chunk))
        if not self._door.is_closing:
            await self._take(splitter.end())

    def answers(self) -> Iterator[bytes]:
        """Yield the answers, once."""
        with self._answers as spooled:
            spooled.seek(0)
            while piece := spooled.read(65536):
                yield piece

    def close(self) -> None:
        """Forget the answers."""
        self._answers.close()

    async def _next(self, body: AsyncIterator[bytes]) -> bytes | None:
        """Wait for the next piece; None at the end, and when the service is about to stop."""
        piece = asyncio.ensure_future(anext(body, None))
        while not self._door.is_closing:
            done, _ = await asyncio.wait({piece}, timeout=_CLOSING_SECONDS)
            if done:
                return piece.result()
        piece.cancel()
        return None

    async def _take(self, lines: Iterator[Line]) -> None:
        entries = [self._parse(line) for line in lines if line.text.strip()]
        for start in range(0, len(entries), self._door.most):
            part = entries[start : start + self._door.most]
            await self._accept([entry for entry in part if entry.candidate is not None])
            self._write(part)

    def _parse(self, line: Line) -> _Entry:
        if line.is_too_long:
            return _Entry(line.number, None, code=422, error=str(TOO_LONG))
        try:
            order, canonical = parse_order(line.text)
        except InvalidOrder as error:
            return _Entry(line.number, read_id(line.text), code=422, error=str(error))
        return _Entry(line.number, order.order_id, self._intake.candidate(order, canonical))

    async def _accept(self, entries: list[_Entry]) -> None:
        """Hand entries over as soon as there is room, or say why that cannot be."""
        while entries and self._refusal is None:
            try:
                verdicts = await self._door.submit([each.candidate for each in entries])  # type: ignore[misc]
            except Overrun:
                verdicts = [Verdict.NO_ROOM] * len(entries)
            except LedgerUncertain as error:
                for entry in entries:
                    entry.code, entry.error = 504, str(error)
                entries, self._refusal = [], "an earlier line may be accepted, or not"
                break
            except LedgerUnavailable as error:
                self._refusal = str(error)
                break
            for entry, verdict in zip(entries, verdicts, strict=True):
                entry.code = _CODES.get(verdict, 503)
                entry.error = str(CONFLICT) if verdict is Verdict.CONFLICT else None
            entries = [
                entry
                for entry, verdict in zip(entries, verdicts, strict=True)
                if verdict is Verdict.NO_ROOM
            ]
            if entries and self._door.is_closing:
                self._refusal = "the service is stopping"
            elif entries:
                await asyncio.sleep(BACKLOG_SECONDS)
        for entry in entries:
            entry.error = f"{self._refusal}; send it again"

    def _write(self, entries: list[_Entry]) -> None:
        for entry in entries:
            self._metrics.verdict(_VERDICTS[entry.code])
            answer = {"line": entry.line, "order_id": entry.order_id, "code": entry.code}
            if entry.error is not None:
                answer["error"] = entry.error
            text = json.dumps(answer, ensure_ascii=False)
            self._answers.write(text.encode("utf-8", errors="backslashreplace") + b"\n")
