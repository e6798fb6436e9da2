"""Lines of CSV in which other characters than a line feed may end rows: they come apart there.

A carriage return alone ended lines once, and other characters end them for other programs. Nobody
can tell such an end from a stray character in a field, so ``csv_rows`` refuses the rows on both
sides of it. They come apart all the same: the order that each belongs to must be known, or it would
be accepted without it.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from services.producer.sources.columns import COLUMNS
from services.producer.sources.streams import LINE_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from services.producer.sources.streams import Line

_RETURN = re.compile(rb"(\r+)")
_ENDS = re.compile(rb"((?:\r|[\0\x0b\x0c\x1c-\x1e]|\xc2\x85|\xe2\x80[\xa8\xa9])+)")
_RETURN_INSIDE = re.compile(rb"\r[^\n]")
_OTHERS = tuple(end.encode() for end in "\0\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029")
COMMAS = len(COLUMNS) - 1
"""As many as a row has: one with a stray character in a field is refused for that field."""


def is_plain(text: bytes) -> bool:
    """Whether a line does not come apart."""
    return b"\r" not in text and (text.count(b",") == COMMAS or not _ENDS.search(text))


def may_come_apart(rows: bytes) -> bool:
    """Whether one of many lines may."""
    if b"\r" in rows and _RETURN_INSIDE.search(rows):
        return True
    return any(end in rows for end in _OTHERS)


def _split(text: bytes) -> list[bytes]:
    """Split a line where it comes apart, with what parts it; nothing but that stays together."""
    ends = _RETURN if text.count(b",") == COMMAS else _ENDS
    return [text] if ends.fullmatch(text.strip()) else ends.split(text)


class Parts:
    """Takes lines apart, those that are too long for one piece too.

    Attributes:
        is_within: Whether the next piece goes on with the line of the one before.
    """

    def __init__(self) -> None:
        self.is_within = False
        self._kept: Line | None = None
        self._is_passed_on = False

    def of(self, line: Line) -> Iterator[Line]:
        """Yield the parts of a line, each but the last with the character at which it ends."""
        text = line.text if line.goes_on else line.text.removesuffix(b"\r")
        if self._kept is not None:
            text, self._kept = self._kept.text + text, None
        elif not line.is_rest:
            self._is_passed_on = False
        self.is_within = line.goes_on
        *before, last = _split(text)
        for part, end in zip(before[::2], before[1::2], strict=True):
            part_of = line._replace(parted=end, is_last=False, cut=None, goes_on=False)
            yield self._sized(part_of, part)
            self._is_passed_on = False
        rest = self._sized(line, last)
        if line.goes_on and not rest.is_too_long:
            self._kept = rest._replace(goes_on=False)  # its row may go on in the next piece
        else:
            self._is_passed_on = line.goes_on
            yield rest

    def end(self) -> Iterator[Line]:
        """Yield what was kept of a line with which the input ends."""
        if self._kept is not None:
            yield self._kept._replace(is_last=True)
            self._kept = None

    def _sized(self, line: Line, text: bytes) -> Line:
        is_rest = self._is_passed_on
        is_too_long = is_rest or len(text) > LINE_BYTES
        return line._replace(text=text, is_too_long=is_too_long, is_rest=is_rest)
