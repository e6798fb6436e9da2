"""Orders from JSON Lines: one ``Order`` a line, prices in minor units."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from pydantic_core import from_json

from services.producer.sources.source import (
    FLUSH,
    NOT_UTF8,
    Accepted,
    CutOff,
    Rejected,
    SourceLine,
    of_line,
)
from services.producer.sources.streams import LINE_BYTES
from shared.errors import InvalidOrder, Reason
from shared.ids import ID_CHARACTER, ID_LENGTH
from shared.json_size import check_weight
from shared.schema import parse_order

if TYPE_CHECKING:
    from collections.abc import Iterable

    from services.producer.sources.notes import Notes
    from services.producer.sources.source import Flush, Source
    from services.producer.sources.streams import Line

_ID = re.compile(rb'"order_id"\s*:\s*"(%b{1,%d})"' % (ID_CHARACTER.encode(), ID_LENGTH))
_OPENING, _CLOSING = (b"{", b"["), (b"}", b"]")
_SEEN = 4096
"""Bytes in which an id is looked for where the line cannot be parsed."""

TOO_LONG = Reason("line", f"must have at most {LINE_BYTES:,} bytes")


def parse_jsonl(file: str, content: Iterable[Line | Flush], notes: Notes) -> Source:
    """Yield each line's order; blank lines are passed over.

    Args:
        file: The input's name.
        content: Its lines.
        notes: Takes note of an order that goes on after its line.

    Raises:
        CutOff: A line is not UTF-8, or the last one ends in the middle; its order has been
            yielded as rejected.
    """
    opened = 0
    for line in content:
        if line is FLUSH:
            yield FLUSH
            continue
        if line.is_rest:
            continue
        source_line = SourceLine(file, line.number)
        if line.is_too_long:
            yield Rejected(source_line, read_id(line.text), [TOO_LONG])
            continue
        if not line.text.strip():
            continue
        if line.cut is not None:
            yield Rejected(source_line, read_id(line.text), [Reason("line", of_line(line.cut))])
            continue
        try:
            order, canonical = parse_order(line.text)
        except InvalidOrder as error:
            cut = _what_cuts(line)
            reasons = [Reason("line", of_line(cut))] if cut == NOT_UTF8 else error.reasons
            yield Rejected(source_line, read_id(line.text), reasons)
            opened = _spread(line, opened, notes)
            if cut is not None:
                raise CutOff(cut, line.number) from None
        else:
            yield Accepted(source_line, order, canonical)


def _spread(line: Line, opened: int, notes: Notes) -> int:
    """Return the line's number if it may be the first of an order on several lines.

    Args:
        line: It is no order.
        opened: The number of the latest such line.
        notes: Takes note where this one goes on with that.
    """
    text = line.text.strip()
    begins = text.startswith(_OPENING)
    if 0 < opened == line.number - 1 and not begins:
        notes.find_spread(opened)
    return line.number if begins and not text.endswith(_CLOSING) else 0


def _what_cuts(line: Line) -> str | None:
    """Find out whether a line that is no order is the end of what can be read, and why."""
    try:
        line.text.decode()
    except UnicodeDecodeError:
        return NOT_UTF8
    if line.is_last:
        try:
            from_json(line.text)
        except ValueError:
            return "the last line ends in the middle"
    return None


def read_id(text: bytes) -> str | None:
    """Find the id of an order that is invalid in some other way."""
    try:
        check_weight(text)
        found = from_json(text).get("order_id")
    except (InvalidOrder, ValueError):
        # It is no JSON, or too much of it: an id that can be seen all the same is its own.
        match = _ID.search(text[:_SEEN])
        return match[1].decode() if match else None
    except AttributeError:
        return None
    return found[:ID_LENGTH] if isinstance(found, str) else None
