"""Rows of CSV from physical lines: a quoted field may hold line ends, as RFC 4180 has it.

A row ends where its quotes are closed. Where they do not match, nobody can tell what is text and
what is a row: each line from there on is passed on as one in doubt, until every reading of the
quotes agrees that a row ends. So nothing inside quotes becomes an order, and a row that is too long
is passed over in flat memory.
"""

from __future__ import annotations

import re
from functools import cache
from typing import TYPE_CHECKING

from services.producer.sources.csv_parts import COMMAS, Parts, is_plain
from services.producer.sources.source import FLUSH, CutOff
from services.producer.sources.streams import LINE_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from services.producer.sources.source import Flush
    from services.producer.sources.streams import Line

_FIELD = rb'(?:"[^"]*+(?:""[^"]*+)*+"|[^",][^,]*+|)'
_ROW = re.compile(rb"%b(?:,%b)*+" % (_FIELD, _FIELD))
_TOKEN = re.compile(rb'[^",]+|[",]')

# Where a reader of CSV can be. After the quote that may close a field anything but a comma or
# another quote is against the rules: the field goes on, with quotes or without, who knows. That
# covers a stray quote, too, which opened nothing: whoever reads it so is at one of both places.
_BEGIN, _PLAIN, _QUOTED, _QUOTE = "begin", "plain", "quoted", "quote"
_NEXT = {
    _BEGIN: {b'"': {_QUOTED}, b",": {_BEGIN}, b"": {_PLAIN}},
    _PLAIN: {b'"': {_PLAIN}, b",": {_BEGIN}, b"": {_PLAIN}},
    _QUOTED: {b'"': {_QUOTE}, b",": {_QUOTED}, b"": {_QUOTED}},
    _QUOTE: {b'"': {_QUOTED}, b",": {_BEGIN}, b"": {_QUOTED, _PLAIN}},
}
_States = frozenset[str]
_SHOWN = 200
_OUTSIDE: _States = frozenset({_BEGIN})


def join_rows(content: Iterable[Line | Flush]) -> Iterator[Line | Flush]:
    """Yield each row as one line, which names the last of its lines, too.

    Raises:
        CutOff: The input ends inside quotes; the row has been yielded as one that was cut.
    """
    joiner = Joiner()
    try:
        for line in content:
            if line is FLUSH:
                yield FLUSH
            elif (
                joiner.is_between
                and b'"' not in (text := line.text)
                and not line.is_too_long
                and b"\r" not in text
                # In most files this is the hottest line: a call would cost as much as the rest.
                and (text.count(b",") == COMMAS or is_plain(text))
            ):
                yield line
            else:
                yield from joiner.take(line)
    except CutOff as cut:
        yield from joiner.give_up(cut.why)
        raise
    yield from joiner.end()


class Joiner:
    """Joins the lines of a row.

    Attributes:
        is_between: Whether the next line begins a row.
    """

    def __init__(self) -> None:
        self.is_between = True
        self._states = _OUTSIDE
        self._held: list[Line] = []
        self._held_bytes = 0
        self._opened = 0
        self._is_too_long = False
        self._is_in_doubt = False
        self._parts = Parts()
        self._parted = b""
        self._before = b""

    def take(self, line: Line) -> Iterator[Line]:
        """Take the next line, or a piece of one; yield the row that ends in it, or what is lost."""
        if not self._parts.is_within and not line.goes_on and is_plain(line.text):
            yield from self._take(line)
            return
        yield from self._take_parts(self._parts.of(line))

    def _take_parts(self, parts: Iterable[Line]) -> Iterator[Line]:
        beginning = b""
        for part in parts:
            is_between = self.is_between
            if beginning and is_between:
                # What stands before the first comma may have been an id in one piece.
                yield part._replace(text=beginning + part.text, parted=self._before)
            yield from self._take(part)
            beginning += part.text.strip()
            if not is_between or b"," in part.text or len(beginning) > _SHOWN:
                beginning = b""

    def _take(self, line: Line) -> Iterator[Line]:
        if self.is_between:
            self._parted, self._before = self._before, line.parted
            if not line.is_too_long and _ROW.fullmatch(line.text):
                yield line._replace(parted=line.parted or self._parted) if self._parted else line
                return
            self._opened = line.number
        states, is_sound = _walk(self._states, line.text)
        if not is_sound and not self._is_in_doubt:
            self._is_in_doubt = True
            yield from self._release(doubt=self._opened)
        self._states = states if line.goes_on else _at_line_end(states)
        self.is_between = self._states == _OUTSIDE and not line.goes_on
        self._before = line.parted
        if line.is_rest:
            pass  # where its line began has been said
        elif self._is_in_doubt:
            shown = line.text[:_SHOWN] if line.is_too_long else line.text
            yield line._replace(doubt=self._opened, text=shown)
        elif self._is_too_long:
            yield line._replace(is_rest=True, text=line.text[:_SHOWN])
        else:
            yield from self._hold(line)
        if self.is_between:
            self._is_too_long = self._is_in_doubt = False

    def give_up(self, why: str) -> Iterator[Line]:
        """Yield what there is of a row in which the input was cut."""
        yield from self._take_parts(self._parts.end())
        if self._held:
            self._held[0] = self._held[0]._replace(cut=why)
        yield from self._release(doubt=self._opened)

    def end(self) -> Iterator[Line]:
        """Yield what there is of a row that never ended.

        Raises:
            CutOff: There is such a row.
        """
        yield from self._take_parts(self._parts.end())
        if _at_line_end(self._states) == _OUTSIDE:
            return
        why = "the quote that opens here is never closed"
        if self._is_in_doubt:
            why = "the quotes that begin here do not match"
        if [line.is_last for line in self._held] == [True]:
            yield from self._release()  # cut in its own line: whoever reads it says so
        yield from self.give_up(why)
        raise CutOff(why, self._opened)

    def _hold(self, line: Line) -> Iterator[Line]:
        """Keep a line for its row, as long as the row is not too long."""
        self._held.append(line)
        self._held_bytes += len(line.text)
        if line.is_too_long or self._held_bytes > LINE_BYTES:
            self._is_too_long = True
            first, *others = self._held
            self._held, self._held_bytes = [], 0
            yield first._replace(is_too_long=True, text=first.text[:_SHOWN])
            for other in others:
                yield other._replace(is_rest=True, text=other.text[:_SHOWN])
        elif self.is_between:
            first, parted = self._held[0], line.parted or self._parted
            *others, _ = self._held
            text = b"".join([each.text + (each.parted or b"\n") for each in others]) + line.text
            self._held, self._held_bytes = [], 0
            yield line._replace(number=first.number, text=text, last=line.number, parted=parted)

    def _release(self, doubt: int = 0) -> Iterator[Line]:
        held, self._held, self._held_bytes = self._held, [], 0
        for line in held:
            yield line._replace(doubt=doubt)


def _walk(states: _States, text: bytes) -> tuple[_States, bool]:
    """Follow the quotes of a text; say where that may lead, and whether it keeps the rules."""
    is_sound = True
    # Without quotes the first and the last byte decide.
    tokens = _TOKEN.findall(text) if b'"' in text else [text[:1], text[-1:]] if text else []
    for token in tokens:
        states = _step(states, token if token in b'",' else b"")
        is_sound = is_sound and len(states) == 1
    return states, is_sound


@cache
def _step(states: _States, token: bytes) -> _States:
    return frozenset().union(*(_NEXT[state][token] for state in states))


def _at_line_end(states: _States) -> _States:
    return frozenset(_QUOTED if state == _QUOTED else _BEGIN for state in states)
