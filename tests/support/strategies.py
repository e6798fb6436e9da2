"""Orders that hypothesis makes up, as values, as JSON and as CSV."""

from __future__ import annotations

import csv
import gzip
import io
import os
from datetime import UTC, datetime, timedelta, timezone
from itertools import pairwise
from typing import Any

from hypothesis import strategies as st

from shared.currencies import MINOR_DIGITS
from shared.schema import MAX_TOTAL, LineItem, Order

_IS_THOROUGH = bool(os.environ.get("THOROUGH"))


def examples(most: int) -> int:
    """Say on how many examples to try a property: on all of them in `make test-long` alone."""
    return most if _IS_THOROUGH else max(5, most // 5)


HEADER = ("order_id", "customer_id", "currency", "placed_at", "sku", "quantity", "unit_price")

ids = st.text(
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._:-", min_size=1, max_size=64
)
# Only characters known for long: Python and pydantic may go by different versions of Unicode.
skus = st.text(
    st.characters(max_codepoint=0x4FF, exclude_categories=("C", "Z"))
    | st.sampled_from(' ",€漢字😀'),
    min_size=1,
    max_size=64,
)
currencies = st.sampled_from(["USD", "EUR", "JPY", "KWD", "CLF"])
instants = st.datetimes(
    min_value=datetime(1, 1, 2),  # noqa: DTZ001  the zone is given beside it
    max_value=datetime(9999, 12, 30),  # noqa: DTZ001
    timezones=st.just(UTC),
)
offsets = st.integers(-23 * 60 - 59, 23 * 60 + 59).map(lambda minutes: timedelta(minutes=minutes))
items = st.builds(
    LineItem,
    sku=skus,
    quantity=st.integers(1, 9) | st.integers(1, 1_000_000),
    unit_price=st.integers(0, 2000) | st.integers(0, 10**12),
)


def _fits(lines: list[LineItem]) -> bool:
    return sum(line.quantity * line.unit_price for line in lines) <= MAX_TOTAL


orders = st.builds(
    Order,
    order_id=ids,
    customer_id=ids,
    currency=currencies,
    placed_at=instants,
    items=st.lists(items, min_size=1, max_size=3).filter(_fits).map(tuple),
)


def placed_elsewhere(order: Order, offset: timedelta) -> dict[str, Any]:
    """Write an order as JSON values, its instant as a clock somewhere else shows it."""
    values = order.model_dump(mode="json")
    values["placed_at"] = order.placed_at.astimezone(timezone(offset)).isoformat()
    return values


def rows(order: Order) -> list[list[str]]:
    """Write an order as CSV has it: a row for each item, prices in major units."""
    digits = MINOR_DIGITS[order.currency]
    placed_at = order.placed_at.isoformat()
    return [
        [
            order.order_id,
            order.customer_id,
            order.currency,
            placed_at,
            item.sku,
            str(item.quantity),
            _major(item.unit_price, digits),
        ]
        for item in order.items
    ]


def _major(amount: int, digits: int) -> str:
    text = f"{amount:0{digits + 1}}"
    return f"{text[:-digits]}.{text[-digits:]}" if digits else text


def write_row(fields: list[str], *, quote_all: bool, end: str) -> bytes:
    """Write a row; only what needs quotes has them, or everything."""
    text = io.StringIO()
    writer = csv.writer(
        text, quoting=csv.QUOTE_ALL if quote_all else csv.QUOTE_MINIMAL, lineterminator=end
    )
    writer.writerow(fields)
    return text.getvalue().encode()


@st.composite
def csv_files(draw: st.DrawFn) -> tuple[list[Order], bytes]:
    """Draw orders of different ids, and a CSV file of them in any of the usual styles."""
    found = draw(st.lists(orders, max_size=5, unique_by=lambda order: order.order_id))
    end = draw(st.sampled_from(["\n", "\r\n"]))
    file = draw(st.sampled_from([b"", b"\xef\xbb\xbf"]))
    for fields in [list(HEADER), *[row for order in found for row in rows(order)]]:
        file += write_row(fields, quote_all=draw(st.booleans()), end=end)
        if draw(st.booleans()):
            file += end.encode() * draw(st.integers(0, 2))
    if draw(st.booleans()):
        file = file.removesuffix(end.encode())
    return found, file


@st.composite
def spoiled_csv_files(draw: st.DrawFn) -> tuple[list[list[str]], bytes, bool]:
    """Draw rows, a CSV file of them to which something happened, and whether it was cut."""
    found = draw(st.lists(orders, max_size=4, unique_by=lambda order: order.order_id))
    table = [row for order in found for row in rows(order)]
    if table:
        table += [[*row] for row in draw(st.lists(st.sampled_from(table), max_size=3))]
    if draw(st.booleans()):
        table = [*draw(st.permutations(table))]
    for row in table:
        if draw(st.integers(0, 5)) == 0:
            # Text of a customer's, with what looks like a whole row of somebody's order in it.
            row[4] = f"{row[4]}\n{','.join(draw(st.sampled_from(table)))}\n"
    for _ in range(draw(st.integers(0, 2))):
        other = draw(st.sampled_from([[*HEADER], ["\ufeffA", *HEADER[1:]], [""] * 7, ["o"]]))
        table.insert(draw(st.integers(0, len(table))), other)
    end = draw(st.sampled_from(["\n", "\r\n"]))
    text = b"".join(
        write_row(row, quote_all=draw(st.booleans()), end=end) for row in table
    ).decode()
    place = draw(st.integers(0, len(text)))
    kind = draw(st.sampled_from(["as it is", "a quote more", "a character less", "cut"]))
    if kind == "a quote more":
        text = f'{text[:place]}"{text[place:]}'
    elif kind == "a character less":
        text = text[:place] + text[place + 1 :]
    elif kind == "cut":
        text = text[:place]
    return table, f"{','.join(HEADER)}{end}{text}".encode(), kind == "cut"


@st.composite
def pieces(draw: st.DrawFn, data: bytes, *, most: int = 8) -> list[bytes]:
    """Cut bytes at random places."""
    cuts = draw(st.lists(st.integers(0, len(data)), max_size=most))
    return [data[start:end] for start, end in pairwise(sorted({0, len(data), *cuts}))]


@st.composite
def gzipped(draw: st.DrawFn, data: bytes, *, members: int = 4) -> list[bytes]:
    """Compress bytes, in one member or several."""
    parts = draw(pieces(data, most=members - 1)) or [b""]
    return [gzip.compress(part, mtime=0) for part in parts]
