"""What every source of orders yields, and what ends one early."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from enum import Enum
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from shared.errors import Reason
    from shared.schema import Order


class Place(NamedTuple):
    """Where an order stood: the input's name, and the line on which it began."""

    file: str
    line: int


class Accepted(NamedTuple):
    """A valid order and its canonical encoding."""

    place: Place
    order: Order
    canonical: bytes


class Rejected(NamedTuple):
    """An order that cannot be accepted; its id, as far as it could be read."""

    place: Place
    order_id: str | None
    reasons: list[Reason]


class _Pause(Enum):
    PAUSE = "pause"


PAUSE: Final = _Pause.PAUSE
"""Nothing more is there just now: what has gathered should leave."""

_SHOWN = 10
_LEFT_OUT = {
    "header": "the header of a joined file",
    "empty": "what has nothing but separators in it",
}

Incoming = Accepted | Rejected | _Pause
Source = Iterator[Incoming]


class Stopped(Exception):
    """Reading was broken off by a request to stop; what is unfinished must not count as whole."""


NOT_UTF8 = "bytes that are not UTF-8"
SPREAD = (
    "JSON Lines has one order a line, and this goes on in the next: write it so with jq -c ., or "
    "an array with jq -c '.[]'"
)
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


class Remarks:
    """What a person should hear of an input that was read, beside its orders."""

    def __init__(self) -> None:
        self._left_out: dict[str, list[int]] = {}
        self._counts: Counter[str] = Counter()
        self._spread = 0
        self._in_part: list[str] = []
        self._in_part_count = 0
        self._over: list[str] = []
        self._over_count = 0

    def leave_out(self, what: str, line: int) -> None:
        """Note a row that is none of an order."""
        self._counts[what] += 1
        shown = self._left_out.setdefault(what, [])
        if len(shown) < _SHOWN:
            shown.append(line)

    def find_spread(self, line: int) -> None:
        """Note that an object of JSON goes on after its line."""
        self._spread = self._spread or line

    def charge_in_part(self, order_id: str) -> None:
        """Note an order that was accepted before the rest of its rows came."""
        self._in_part_count += 1
        if len(self._in_part) < _SHOWN:
            self._in_part.append(order_id)

    def come_over(self, order_id: str) -> None:
        """Note an order of which an earlier input had other rows, and was taken in."""
        self._over_count += 1
        if len(self._over) < _SHOWN:
            self._over.append(order_id)

    def notes(self, file: str) -> list[str]:
        """Say what was left out, and which line holds the beginning of an order only."""
        spread = [f"{file}, line {self._spread}: {SPREAD}"] if self._spread else []
        return spread + [
            f"{file}, {'line' if len(lines) == 1 else 'lines'} "
            f"{_listed(lines, self._counts[what])}: left out {_LEFT_OUT[what]}"
            for what, lines in self._left_out.items()
        ]

    def problems(self, file: str) -> list[str]:
        """Say which orders were charged in part, or may have been."""
        found = [each] if (each := self.problem(file)) else []
        if self._over_count:
            orders = "1 order" if self._over_count == 1 else f"{self._over_count:,} orders"
            names = _listed(self._over, self._over_count)
            found.append(
                f"{file}: rows of {orders} were refused, for an earlier input of this run has "
                f"other rows of the same id: {names}; those were taken, perhaps as a part: see to "
                "them, and join such inputs to one that is sorted by order_id"
            )
        return found

    def problem(self, file: str) -> str | None:
        """Say which orders were charged in part, if any were."""
        if not self._in_part_count:
            return None
        orders = (
            "1 order was" if self._in_part_count == 1 else f"{self._in_part_count:,} orders were"
        )
        return (
            f"{file}: {orders} charged in part, for the rest of their rows came after other "
            f"orders: {_listed(self._in_part, self._in_part_count)}; see to them, and sort the "
            "rows by order_id or read them from a file, which is looked at before"
        )


def _listed(shown: Sequence[object], count: int) -> str:
    more = f" and {count - len(shown):,} more" if count > len(shown) else ""
    return ", ".join(map(str, shown)) + more
