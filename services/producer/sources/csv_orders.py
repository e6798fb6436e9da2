"""Orders from CSV: a row per line item, consecutive rows of one id form an order.

An order is accepted whole or not at all: a row that is wrong, or that cannot be read, spoils the
order that it belongs to, and ``whole`` sees to orders whose rows come in several places. Prices are
in major units; they become minor units here, exactly.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from services.producer.sources.columns import COLUMNS
from services.producer.sources.csv_rows import Flaw, Row, bare, lines_of, read_rows
from services.producer.sources.source import FLUSH, Accepted, CutOff, Rejected, SourceLine, of_line
from shared.currencies import MINOR_DIGITS
from shared.errors import InvalidOrder, Reason
from shared.ids import ID_LENGTH
from shared.json_size import MOST_ITEMS
from shared.reasons import bounded
from shared.schema import build_order

if TYPE_CHECKING:
    from collections.abc import Iterable

    from services.producer.sources.notes import Notes
    from services.producer.sources.source import Flush, Source
    from services.producer.sources.streams import Line
    from services.producer.sources.whole_orders import Guard

HEADER = ",".join(COLUMNS)
_INTEGER = re.compile(r"[0-9]{1,25}")
_DECIMAL = re.compile(r"([0-9]{1,25})(?:\.([0-9]{1,25}))?")


def parse_csv(file: str, content: Iterable[Line | Flush], guard: Guard, notes: Notes) -> Source:
    """Yield an order for each run of rows with the same id.

    Args:
        file: The input's name.
        content: Its lines after the header.
        guard: Refuses orders that are not whole.
        notes: Takes note of rows that are left out.

    Raises:
        CutOff: A line is not UTF-8, or the input ends in the middle of a row; the order it belongs
            to has been yielded as rejected.
    """
    group: _Group | None = None
    try:
        for item in read_rows(content, notes):
            if item is FLUSH:
                yield FLUSH
                continue
            row = item.columns
            if group is not None and (row is None or not group.takes(row)):
                yield from guard.check(group.finish(), group.name)
                group = None
            if row is None:
                continue
            if isinstance(row, Flaw) and row.reason is None:
                guard.spoil(row.order_id)
                continue
            if group is None:
                order_id = row.order_id if isinstance(row, Flaw) else row[0]
                group = _Group(SourceLine(file, item.first), order_id)
            group.add(item, row)
    except CutOff as cut:
        if group is not None:
            group.cut_off(cut)
            yield from guard.check(group.finish(), group.name)
        raise
    if group is not None:
        yield from guard.check(group.finish(), group.name)


_Columns = list[str] | Flaw


@dataclass
class _Group:
    """The rows of one order, as far as they have come."""

    source_line: SourceLine
    order_id: str
    head: tuple[str, ...] = ()
    items: list[dict[str, Any]] = field(default_factory=list)
    lines: list[Row] = field(default_factory=list)
    problems: list[Reason] = field(default_factory=list)

    @property
    def name(self) -> str:
        """The id without what nobody sees around it: it may be that of other rows."""
        return bare(self.order_id)

    def takes(self, row: _Columns) -> bool:
        """Whether a row belongs to this order, or may: its id can be cut off, or left out."""
        if not isinstance(row, Flaw):
            if row[0] == self.order_id:
                return True
            # Without an id it is the next item of the order above, as in a sheet whose cells were
            # merged.
            return bare(row[0]) in {self.name, ""}
        if row.is_id_whole:
            return bare(row.order_id) == self.name
        return self.order_id.startswith(row.order_id)

    def cut_off(self, cut: CutOff) -> None:
        """Refuse the order because the input ends in it."""
        reason = _cut_off(cut.line, cut.why)
        if reason not in self.problems:
            self.problems.append(reason)

    def add(self, row: Row, columns: _Columns) -> None:
        """Add a row."""
        if len(self.lines) > MOST_ITEMS or len(self.problems) > MOST_ITEMS:
            return  # cannot become valid any more: do not gather what may be a whole file
        if isinstance(columns, Flaw):
            if columns.reason is not None and columns.reason not in self.problems:
                self.problems.append(columns.reason)
            return
        order_id, customer_id, currency, placed_at, sku, quantity, price = columns
        head = customer_id, currency, placed_at
        if not self.head:
            self.head = head
        elif head != self.head or order_id != self.order_id:
            self._compare(row, columns)
        self.items.append(
            {
                "sku": sku,
                "quantity": self._whole(row, quantity),
                "unit_price": self._minor_units(row, price),
            }
        )
        self.lines.append(row)

    def _compare(self, row: Row, columns: list[str]) -> None:
        """Say in which columns a row is not one of this order."""
        where = lines_of(row.first, row.last)
        for name, first, now in zip(COLUMNS, (self.order_id, *self.head), columns, strict=False):
            if now != first:
                self.problems.append(
                    Reason(f"{where} {name}", "must be the same in all rows", repr(now[:80]))
                )

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
                    return Accepted(self.source_line, order, canonical)
        return Rejected(self.source_line, self.order_id[:ID_LENGTH] or None, bounded(reasons))

    def _whole(self, row: Row, text: str) -> int:
        if _INTEGER.fullmatch(text):
            return int(text)
        self._refuse(row, "quantity", "must be a whole number in plain digits", text)
        return 1

    def _minor_units(self, row: Row, text: str) -> int:
        """Turn ``11.77`` into 1177, by the digits of the order's currency."""
        digits = MINOR_DIGITS.get(self.head[1])
        if digits is None:
            return 0  # the currency is refused by the schema
        match = _DECIMAL.fullmatch(text)
        if match is None:
            self._refuse(
                row, "unit_price", "must be a plain decimal in major units, like 11.77", text
            )
            return 0
        whole, decimals = match[1], match[2] or ""
        if len(decimals) > digits:
            decimals = decimals.rstrip("0")  # 29.9900 is 29.99, exactly
            if len(decimals) > digits:
                rule = f"must have at most {digits} decimals in {self.head[1]}"
                self._refuse(row, "unit_price", rule, text)
                return 0
        return int(whole + decimals.ljust(digits, "0"))

    def _refuse(self, row: Row, name: str, rule: str, text: str) -> None:
        where = f"{lines_of(row.first, row.last)} {name}"
        self.problems.append(Reason(where, rule, repr(text[:80])))

    def _with_line(self, reason: Reason) -> Reason:
        """Say the lines in the file instead of the index in the order."""
        match = re.fullmatch(r"items\[(\d+)\]\.(\w+)", reason.where)
        if match is None:
            return reason._replace(where=f"line {self.source_line.line} {reason.where}")
        row = self.lines[int(match[1])]
        return reason._replace(where=f"{lines_of(row.first, row.last)} {match[2]}")

    def _is_said(self, reason: Reason) -> bool:
        return any(said.where == reason.where for said in self.problems)


def _cut_off(number: int, why: str) -> Reason:
    return Reason(f"line {number}", of_line(why))
