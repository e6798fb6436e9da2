"""Many orders in one request: lines in, an answer for each, at the pace of the pipeline.

While the pipeline is full nothing more is read, and TCP slows the sender down. Answers are kept
until the body has been read, so that a sender who sends everything before it reads cannot deadlock
with us: those of a long body in a temporary file. A body of little but bad lines would make many
times its size of answers: the rest of it is only counted.
"""

from __future__ import annotations

import asyncio
import json
import tempfile
import time
from contextlib import closing
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING

from services.http.bodies import require_text
from services.producer.batcher import BACKLOG_SECONDS, CONFLICT
from services.producer.group_commit import Overrun
from services.producer.sources.jsonl_orders import TOO_LONG, read_id
from services.producer.sources.seen_ids import SeenIds
from services.producer.sources.streams import LineSplitter
from services.producer.sources.whole_orders import REJECTED_BEFORE
from shared.errors import InvalidOrder, LedgerUnavailable, LedgerUncertain
from shared.ledger.journal import Verdict
from shared.schema import parse_order
from shared.texts import legible

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from services.http.metrics import IntakeMetrics
    from services.producer.group_commit import GroupCommit
    from services.producer.intake import Intake
    from services.producer.sources.streams import Line
    from shared.ledger.journal import Candidate

MOST_BYTES = 1024 * 1024 * 1024
"""A longer body is refused: its answers have to be kept somewhere."""

MOST_REFUSED = 1000
"""Lines that may be refused, and more as long as as many are accepted."""

_BLANK = 10
"""Blank lines that weigh as much as one that is refused: they cost time, and have no answer."""

_ERROR_CHARACTERS = 300
_TURN_SECONDS = 0.01
"""How long lines may be parsed until others get their turn."""

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

    def __init__(self, group_commit: GroupCommit, intake: Intake, metrics: IntakeMetrics) -> None:
        self._group_commit = group_commit
        self._intake = intake
        self._metrics = metrics
        self._answers: IO[bytes] = tempfile.SpooledTemporaryFile(_SPOOL_BYTES)  # noqa: SIM115
        self._refusal: str | None = None
        self._accepted = 0
        self._refused = 0
        self._blank = 0
        self._first_skipped = 0
        self._rejected = SeenIds()

    async def take(self, body: AsyncIterator[bytes]) -> None:
        """Take every line in, in order; return when the body has been read.

        Once a line could not be accepted no later one is, so that a sender who sends the rest
        again keeps its order. A line without an answer was not accepted.
        """
        with closing(self._rejected):
            await self._take_all(body)

    async def _take_all(self, body: AsyncIterator[bytes]) -> None:
        splitter = LineSplitter()
        size = ends = 0
        last = b"\n"
        while (chunk := await self._next(body)) is not None:
            if not size:
                require_text(chunk)
            size += len(chunk)
            if size > MOST_BYTES:
                why = f"the body has more than {MOST_BYTES:,} bytes; send the rest by itself"
                self._write_down(_Entry(self._first_skipped or splitter.number, None, error=why))
                return
            if not self._first_skipped:
                await self._take(splitter.feed(chunk))
            ends += chunk.count(b"\n")
            last = chunk or last
        if self._first_skipped:
            self._say_skipped(ends + (not last.endswith(b"\n")))
        elif not self._group_commit.is_closing:
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
        while not self._group_commit.is_closing:
            done, _ = await asyncio.wait({piece}, timeout=_CLOSING_SECONDS)
            if done:
                return piece.result()
        piece.cancel()
        return None

    async def _take(self, lines: Iterator[Line]) -> None:
        """Take lines in, until too many have been refused; others get their turn meanwhile."""
        part: list[_Entry] = []
        bad = 0
        turn = time.monotonic() + _TURN_SECONDS
        for line in lines:
            if time.monotonic() > turn:
                await asyncio.sleep(0)
                turn = time.monotonic() + _TURN_SECONDS
            if line.text.strip():
                part.append(self._parse(line))
                is_good = part[-1].candidate is not None
                bad += not is_good
            else:
                self._blank += 1
                is_good = False
            if len(part) < self._group_commit.most and (
                is_good or not self._is_too_much(bad, len(part) - bad)
            ):
                continue
            await self._answer(part)
            part, bad = [], 0
            if self._is_too_much():
                self._first_skipped = line.number + 1
                return
        await self._answer(part)

    async def _answer(self, part: list[_Entry]) -> None:
        await self._accept([entry for entry in part if entry.candidate is not None])
        for entry in part:
            self._metrics.verdict(_VERDICTS[entry.code])
            self._write_down(entry)
            if entry.error is None:
                self._accepted += 1
            else:
                self._refused += 1

    def _is_too_much(self, refused: int = 0, accepted: int = 0) -> bool:
        """Whether too many are refused, with so many more of each kind."""
        refused += self._refused + self._blank // _BLANK
        return refused >= MOST_REFUSED and refused > self._accepted + accepted

    def _say_skipped(self, lines: int) -> None:
        """Say how many of the body's lines were not looked at."""
        skipped = lines - self._first_skipped + 1
        if skipped > 0:
            blank = f", {self._blank:,} were blank" if self._blank >= _BLANK else ""
            why = (
                f"{self._refused:,} lines were refused{blank}, more than were accepted: this line "
                f"and the {skipped - 1:,} after it were not looked at"
            )
            self._write_down(_Entry(self._first_skipped, None, error=why), skipped)

    def _parse(self, line: Line) -> _Entry:
        """Read a line's order, or refuse it: an id that was refused is so for the whole body."""
        try:
            candidate = self._candidate(line)
        except InvalidOrder as error:
            order_id = read_id(line.text)
            if order_id is not None:
                self._rejected.add(order_id)
            return _Entry(line.number, order_id, code=422, error=str(error))
        return _Entry(line.number, candidate.order_id, candidate)

    def _candidate(self, line: Line) -> Candidate:
        if line.is_too_long:
            raise InvalidOrder([TOO_LONG])
        order, canonical = parse_order(line.text)
        if self._rejected and order.order_id in self._rejected:
            raise InvalidOrder([REJECTED_BEFORE])
        return self._intake.candidate(order, canonical)

    async def _accept(self, entries: list[_Entry]) -> None:
        """Hand entries over as soon as there is room, or say why that cannot be."""
        while entries and self._refusal is None:
            try:
                verdicts = await self._group_commit.submit([each.candidate for each in entries])  # type: ignore[misc]
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
            if entries and self._group_commit.is_closing:
                self._refusal = "the service is stopping"
            elif entries:
                await asyncio.sleep(BACKLOG_SECONDS)
        for entry in entries:
            entry.error = f"{self._refusal}; send it again"

    def _write_down(self, entry: _Entry, skipped: int = 0) -> None:
        answer = {"line": entry.line, "order_id": entry.order_id, "code": entry.code}
        if entry.error is not None:
            answer["error"] = legible(entry.error, _ERROR_CHARACTERS)
        if skipped:
            answer["skipped"] = skipped
        text = json.dumps(answer, ensure_ascii=False)
        self._answers.write(text.encode("utf-8", errors="backslashreplace") + b"\n")
