"""Orders from JSON Lines: one ``Order`` a line, prices in minor units."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from pydantic_core import from_json

from services.producer.source import PAUSE, Accepted, CutOff, Place, Rejected
from services.producer.streams import LINE_BYTES
from shared.errors import InvalidOrder, Reason
from shared.schema import parse_order
from shared.weight import check_weight

if TYPE_CHECKING:
    from collections.abc import Iterable

    from services.producer.source import Source, _Pause
    from services.producer.streams import Line

_ID = re.compile(rb'"order_id"\s*:\s*"([A-Za-z0-9._:-]{1,64})"')
_SEEN = 4096
"""Bytes in which an id is looked for where the line cannot be parsed."""

TOO_LONG = Reason("line", f"must have at most {LINE_BYTES:,} bytes")


def parse_jsonl(file: str, content: Iterable[Line | _Pause]) -> Source:
    """Yield each line's order; blank lines are passed over.

    Raises:
        CutOff: A line is not UTF-8, or the last one ends in the middle; its order has been
            yielded as rejected.
    """
    for line in content:
        if line is PAUSE:
            yield PAUSE
            continue
        if line.is_rest:
            continue
        place = Place(file, line.number)
        if line.is_too_long:
            yield Rejected(place, read_id(line.text), [TOO_LONG])
            continue
        if not line.text.strip():
            continue
        if line.cut is not None:
            yield Rejected(place, read_id(line.text), [Reason("line", f"is cut off: {line.cut}")])
            continue
        try:
            order, canonical = parse_order(line.text)
        except InvalidOrder as error:
            yield Rejected(place, read_id(line.text), error.reasons)
            _check_whole(line)
        else:
            yield Accepted(place, order, canonical)


def _check_whole(line: Line) -> None:
    try:
        line.text.decode()
    except UnicodeDecodeError:
        raise CutOff("bytes that are not UTF-8", line.number) from None
    if line.is_last:
        try:
            from_json(line.text)
        except ValueError:
            raise CutOff("the last line ends in the middle", line.number) from None


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
    return found[:64] if isinstance(found, str) else None
