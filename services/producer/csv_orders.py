"""Orders from CSV: a row per line item, consecutive rows of one id form an order.

A record is one physical line. No valid field holds a line end, so a stray quote can spoil no more
than its own row. Prices are in major units; they become minor units here, exactly.
"""

from __future__ import annotations

import csv
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from services.producer.jsonl_orders import TOO_LONG
from services.producer.source import PAUSE, Accepted, CutOff, Place, Rejected
from shared.currencies import MINOR_DIGITS
from shared.errors import InputError, InvalidOrder, Reason
from shared.schema import build_order

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from services.producer.source import Source, _Pause
    from services.producer.streams import Line

COLUMNS = ("order_id", "customer_id", "currency", "placed_at", "sku", "quantity", "unit_price")
HEADER = ",".join(COLUMNS)
_HEADER_ROWS = [*COLUMNS], ["\ufeff" + COLUMNS[0], *COLUMNS[1:]]
_MOST_ITEMS = 500
_INTEGER = re.compile(r"[0-9]{1,25}")
_DECIMAL = re.compile(r"([0-9]{1,25})(?:\.([0-9]{1,25}))?")


def check_header(file: str, line: Line) -> None:
    """Refuse a CSV whose first line is not the header.

    Raises:
        InputError: Shows both.
    """
    found = line.text.decode(errors="replace")
    if tuple(_split(found) or ()) != COLUMNS:
        raise InputError(
            f"{file}, line {line.number}: the header must be {HEADER}, not {found[:100]!r}"
        )


def parse_csv(file: str, content: Iterable[Line | _Pause]) -> Source:
    """Yield an order for each run of rows with the same id.

    Raises:
        CutOff: A line is not UTF-8, or the last one ends in the middle; the order it belongs to
            has been yielded as rejected.
    """
    group: _Group | None = None
    try:
        for item in _rows(content):
            if item is PAUSE:
                yield PAUSE
                continue
            number, row = item
            if group is None or not group.takes(row):
                if group is not None:
                    yield group.finish()
                order_id = row.order_id if isinstance(row, _Flaw) else row[0]
                group = _Group(Place(file, number), order_id)
            group.add(number, row)
    except CutOff as cut:
        if group is not None:
            group.cut_off(cut)
            yield group.finish()
        raise
    if group is not None:
        yield group.finish()


def _rows(content: Iterable[Line | _Pause]) -> Iterator[tuple[int, _Row] | _Pause]:
    """Split the lines; files that were joined bring their headers along, which are left out.

    Raises:
        CutOff: After the row in which the input ends.
    """
    for line in content:
        if line is PAUSE:
            yield PAUSE
            continue
        if not line.text.strip():
            continue
        row = _read(line)
        if row not in _HEADER_ROWS:
            yield line.number, row
        if isinstance(row, _Flaw) and row.cut is not None:
            raise CutOff(row.cut, line.number)


class _Flaw(NamedTuple):
    """A row that cannot be split into its columns.

    Attributes:
        order_id: Whose it is, as far as that can be read.
        is_id_whole: Whether that is all of the id.
        reason: Why the row is refused.
        cut: Why the input ends here, if it does.
    """

    order_id: str
    is_id_whole: bool
    reason: Reason
    cut: str | None


_Row = list[str] | _Flaw


@dataclass
class _Group:
    """The rows of one order, as far as they have come."""

    place: Place
    order_id: str
    head: tuple[str, ...] = ()
    items: list[dict[str, Any]] = field(default_factory=list)
    lines: list[int] = field(default_factory=list)
    problems: list[Reason] = field(default_factory=list)

    def takes(self, row: _Row) -> bool:
        """Whether a row belongs to this order, or may: its id can be cut off, too."""
        if not isinstance(row, _Flaw):
            return row[0] == self.order_id
        if row.is_id_whole:
            return row.order_id == self.order_id
        return self.order_id.startswith(row.order_id)

    def cut_off(self, cut: CutOff) -> None:
        """Refuse the order because the input ends in it."""
        reason = _cut_off(cut.line, cut.why)
        if reason not in self.problems:
            self.problems.append(reason)

    def add(self, number: int, row: _Row) -> None:
        """Add a row."""
        if len(self.lines) > _MOST_ITEMS or len(self.problems) > _MOST_ITEMS:
            return  # cannot become valid any more: do not gather what may be a whole file
        if isinstance(row, _Flaw):
            self.problems.append(row.reason)
            return
        head = tuple(row[1:4])
        self.head = self.head or head
        for name, first, now in zip(COLUMNS[1:4], self.head, head, strict=True):
            if now != first:
                self.problems.append(
                    Reason(f"line {number} {name}", "must be the same in all rows", repr(now[:80]))
                )
        self.items.append(
            {
                "sku": row[4],
                "quantity": self._whole(number, row[5]),
                "unit_price": self._minor_units(number, row[6]),
            }
        )
        self.lines.append(number)

    def finish(self) -> Accepted | Rejected:
        """Make an order of the rows, or say why they are none."""
        reasons = self.problems
        if self.head:
            customer_id, currency, placed_at = self.head
            values = {
                "order_id": self.order_id,
                "customer_id": customer_id,
                "currency": currency,
                "placed_at": placed_at,
                "items": tuple(self.items),
            }
            try:
                order, canonical = build_order(values)
            except InvalidOrder as error:
                found = [self._with_line(reason) for reason in error.reasons]
                reasons = reasons + [reason for reason in found if not self._is_said(reason)]
            else:
                if not reasons:
                    return Accepted(self.place, order, canonical)
        return Rejected(self.place, self.order_id[:64] or None, reasons)

    def _whole(self, number: int, text: str) -> int:
        if _INTEGER.fullmatch(text):
            return int(text)
        rule = "must be a whole number in plain digits"
        self.problems.append(Reason(f"line {number} quantity", rule, repr(text[:80])))
        return 1

    def _minor_units(self, number: int, text: str) -> int:
        """Turn ``11.77`` into 1177, by the digits of the order's currency."""
        digits = MINOR_DIGITS.get(self.head[1])
        if digits is None:
            return 0  # the currency is refused by the schema
        match = _DECIMAL.fullmatch(text)
        if match is None:
            rule = "must be a plain decimal in major units, like 11.77"
        elif len(match[2] or "") > digits:
            rule = f"must have at most {digits} decimals in {self.head[1]}"
        else:
            return int(match[1] + (match[2] or "").ljust(digits, "0"))
        self.problems.append(Reason(f"line {number} unit_price", rule, repr(text[:80])))
        return 0

    def _with_line(self, reason: Reason) -> Reason:
        """Say the line in the file instead of the index in the order."""
        match = re.fullmatch(r"items\[(\d+)\]\.(\w+)", reason.where)
        if match is None:
            return reason._replace(where=f"line {self.place.line} {reason.where}")
        return reason._replace(where=f"line {self.lines[int(match[1])]} {match[2]}")

    def _is_said(self, reason: Reason) -> bool:
        return any(said.where == reason.where for said in self.problems)


def _cut_off(number: int, why: str) -> Reason:
    return Reason(f"line {number}", f"is cut off: {why}")


def _read(line: Line) -> _Row:
    """Split a line into its columns, or say why that cannot be done."""
    cut = line.cut
    try:
        text = line.text.decode()
    except UnicodeDecodeError:
        text = line.text.decode(errors="replace")
        if not line.is_too_long:
            cut = cut or "bytes that are not UTF-8"
    fields = None if line.is_too_long else _split(text)
    if cut is None and fields is not None and len(fields) == len(COLUMNS):
        return fields
    if line.is_last and (fields is None or len(fields) < len(COLUMNS)):
        cut = cut or "the last line ends in the middle"
    where = f"line {line.number}"
    if line.is_too_long:
        reason = TOO_LONG._replace(where=where)
    elif cut is not None:
        reason = _cut_off(line.number, cut)
    elif fields is None:
        reason = Reason(where, "must be quoted as CSV is")
    else:
        reason = Reason(where, f"must have {len(COLUMNS)} columns", str(len(fields)))
    name, comma, _ = text.partition(",")
    name = name.strip('"')
    if cut is None:
        return _Flaw(name, is_id_whole=True, reason=reason, cut=None)
    readable = name.partition("\ufffd")[0]
    return _Flaw(readable, is_id_whole=bool(comma) and readable == name, reason=reason, cut=cut)


def _split(text: str) -> list[str] | None:
    if '"' not in text:
        return text.split(",")
    try:
        (fields,) = csv.reader([text], strict=True)
    except (csv.Error, ValueError):
        return None
    return fields
