"""What every source of orders yields, and what ends one early."""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum
from typing import TYPE_CHECKING, Final, NamedTuple

from typing_extensions import override

if TYPE_CHECKING:
    from shared.errors import Reason
    from shared.schema import Order


class SourceLine(NamedTuple):
    """Where an order stood: the input's name, and the line on which it began."""

    file: str
    line: int


class Accepted(NamedTuple):
    """A valid order and its canonical encoding."""

    source_line: SourceLine
    order: Order
    canonical: bytes


class Rejected(NamedTuple):
    """An order that cannot be accepted; its id, as far as it could be read."""

    source_line: SourceLine
    order_id: str | None
    reasons: list[Reason]


class Flush(Enum):
    """The type of ``FLUSH``."""

    FLUSH = "flush"


FLUSH: Final = Flush.FLUSH
"""Nothing more is there just now: what has gathered should leave."""

Incoming = Accepted | Rejected | Flush
Source = Iterator[Incoming]


class Stopped(Exception):
    """Reading was broken off by a request to stop; what is unfinished must not count as whole."""


NOT_UTF8 = "bytes that are not UTF-8"
_REMEDIES = {
    NOT_UTF8: "if it is Latin-1 or Windows-1252, convert it: iconv -f WINDOWS-1252 -t UTF-8",
    "quote": "mend that, and run it again: what was accepted is not charged twice",
}


def of_line(why: str) -> str:
    """Say of a line what ended the input there: not all that cannot be read was cut off."""
    return f"has {why}" if why == NOT_UTF8 else f"is cut off: {why}"


class CutOff(Exception):
    """The input ended where it should not have: truncated gzip, bytes that are not UTF-8.

    Attributes:
        line: The line on which it ended, where the reader knows.
        why: What was found there.
    """

    def __init__(self, why: str, line: int = 0) -> None:
        super().__init__(why)
        self.why = why
        self.line = line

    @override
    def __str__(self) -> str:
        """What was found, and what can be done."""
        remedy = next((what for sign, what in _REMEDIES.items() if sign in self.why), None)
        return self.why if remedy is None else f"{self.why}; {remedy}"

    @property
    def said(self) -> str:
        """The same, as what became of the input."""
        if self.why == NOT_UTF8:
            return f"has {self}; it was read up to there"
        return f"input cut off: {self}"
