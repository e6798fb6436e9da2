"""Rows of CSV and their columns: what can be split, what cannot and why, what is left out."""

from __future__ import annotations

import csv
from typing import TYPE_CHECKING, NamedTuple

from services.producer.sources.columns import COLUMNS
from services.producer.sources.csv_quotes import join_rows
from services.producer.sources.jsonl_orders import TOO_LONG
from services.producer.sources.source import FLUSH, NOT_UTF8, CutOff, of_line
from shared.errors import Reason

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from services.producer.sources.notes import Notes
    from services.producer.sources.source import Flush
    from services.producer.sources.streams import Line

INVISIBLE = " \t\r\n\0\xa0\u200b\ufeff"

_HEADER_ROW = [*COLUMNS]
_MARK = "\ufeff"
_MARKS = ("'", "=")
_UNUSUAL = b" \t\r\0,o"  # how a row without an id begins, or a header
_SEPARATORS = b' \t\r,"'
_RETURN = "a CR in the line may end a row: make it a line end, tr '\\r' '\\n', or take it out"
_OTHER_END = "U+{:04X} in the line may end a row: make it a line end, or take it out"


class Flaw(NamedTuple):
    """A row that cannot be split into its columns.

    Attributes:
        order_id: Whose it is, as far as that can be read.
        is_id_whole: Whether that is all of the id.
        reason: Why the row is refused; None if that was said of a row that it may belong to.
        cut: Why the input ends here, if it does.
    """

    order_id: str
    is_id_whole: bool
    reason: Reason | None
    cut: str | None = None


class Row(NamedTuple):
    """A row and the lines it spans; without columns it is a header, which ends an order."""

    first: int
    last: int
    columns: list[str] | Flaw | None


def read_rows(content: Iterable[Line | Flush], notes: Notes) -> Iterator[Row | Flush]:
    """Split the rows; what a spreadsheet or a joined file leaves in between is left out, and noted.

    Raises:
        CutOff: After the row in which the input ends.
    """
    for line in join_rows(content):
        if line is FLUSH:
            yield FLUSH
            continue
        number, text, is_too_long, _, cut, _, is_rest, _, doubt, parted = line
        if not (is_too_long or cut or is_rest or doubt or parted):
            plain = _plain(text)
            if plain is not None:
                yield Row(number, number, plain)
                continue
        columns = _read(line)
        if columns is None or columns == _HEADER_ROW:
            if line.text.strip():
                notes.leave_out("header" if columns else "empty", line.number)
            if columns:
                yield Row(line.number, line.number, None)
            continue
        yield Row(line.number, line.last or line.number, columns)
        if isinstance(columns, Flaw) and columns.cut is not None:
            raise CutOff(columns.cut, line.number)


def lines_of(first: int, last: int) -> str:
    """Name the lines of a row."""
    return f"line {first}" if first == last else f"lines {first} to {last}"


def first_column(line: Line) -> bytes | None:
    """Read a row's order id, and nothing else of it; None if it is no row of an order.

    A header is taken for the row of an order without an id: it ends the one before, too.
    """
    text = line.text
    if not text.strip(_SEPARATORS):
        # Where nobody knows what is quoted, it may be the beginning of a row that goes on.
        return b"" if line.doubt else None
    if b"order_id" in text and _read(line) == _HEADER_ROW:
        return b""
    name = text.partition(b",")[0]
    if text.startswith(b'"'):
        columns = None if line.doubt or line.is_rest else split_row(text.decode(errors="replace"))
        name = name.strip(b'"') if columns is None else columns[0].encode()
    return bare(name.decode(errors="replace")).encode()


def bare(order_id: str) -> str:
    """Take out of an id what nobody sees, and a spreadsheet's marks: it is that of rows without."""
    plain = order_id.replace('"', "").strip(INVISIBLE)
    if plain.isascii() and plain.isprintable() and not plain.startswith(_MARKS):
        return plain
    visible = "".join([each for each in plain if each.isprintable() and not each.isspace()])
    return visible.lstrip("'=")


def _plain(raw: bytes) -> list[str] | None:
    """Split a row in which nothing is unusual, as in most; None if something may be."""
    if raw[:1] in _UNUSUAL or b'"' in raw or not raw.isascii():
        return None
    columns = raw.decode().split(",")
    return columns if len(columns) == len(COLUMNS) else None


def _read(line: Line) -> list[str] | Flaw | None:
    """Split a row into its columns, or say why that cannot be done; None if it is empty."""
    raw = line.text
    is_sound = not (line.is_too_long or line.doubt or line.is_rest or line.parted)
    cut = line.cut
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        text = raw.decode(errors="replace")
        if not (line.is_too_long or line.is_rest):
            cut = cut or NOT_UTF8
    columns = split_row(text) if is_sound else None
    if columns is not None and cut is None:
        if len(columns) == len(COLUMNS):
            if columns[0] and columns[0].strip():
                return _without_mark(columns) if columns[0][0] == _MARK else columns
            return columns if raw.strip(_SEPARATORS) else None
        if not raw.strip(_SEPARATORS):
            return None
    return _flaw(line, text, columns, cut)


def _flaw(line: Line, text: str, columns: list[str] | None, cut: str | None) -> Flaw | None:
    if not line.text.strip(_SEPARATORS if line.parted else None):
        return None
    if line.is_last and (columns is None or len(columns) < len(COLUMNS)):
        cut = cut or "the last line ends in the middle"
    where = lines_of(line.number, line.last or line.number)
    reason: Reason | None
    if line.is_rest:
        reason = None
    elif line.is_too_long:
        reason = TOO_LONG._replace(where=where)
    elif cut is not None:
        reason = Reason(where, of_line(cut))
    elif line.doubt and line.doubt != line.number:
        reason = Reason(where, f"may be text: the quotes from line {line.doubt} on do not match")
    elif line.parted:
        reason = Reason(where, _rule_of(line.parted))
    elif columns is None:
        reason = Reason(where, "must be quoted as CSV is")
    else:
        reason = Reason(where, f"must have {len(COLUMNS)} columns", str(len(columns)))
    name, comma, _ = text.partition(",")
    name = name.strip('"')
    if cut is None:
        return Flaw(name, is_id_whole=True, reason=reason)
    readable = name.partition("\ufffd")[0]
    return Flaw(readable, is_id_whole=bool(comma) and readable == name, reason=reason, cut=cut)


def _rule_of(end: bytes) -> str:
    character = end.decode()[0]
    return _RETURN if character == "\r" else _OTHER_END.format(ord(character))


def _without_mark(columns: list[str]) -> list[str]:
    """Take the byte-order mark of a joined file's header, which hides the quotes behind it."""
    plain = split_row(",".join(columns).removeprefix(_MARK))
    return _HEADER_ROW if plain == _HEADER_ROW else columns


def split_row(text: str) -> list[str] | None:
    """Split a row; None if its quotes are not as CSV has them."""
    if '"' not in text:
        return text.split(",")
    try:
        (columns,) = csv.reader([text], strict=True)
    except (csv.Error, ValueError):
        return None
    return columns
