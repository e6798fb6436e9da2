"""CSV input: however it is written, cut into chunks or packed, the same orders come out of it.

What a cut-off input yields is said here exactly. A gzip file knows where it ends, so an order is
accepted whole or not at all. A plain file does not: cut at the end of a row it is a valid shorter
file, and cut inside the last price, a valid file with a lower price. Only those two can change an
order, and only the last one.
"""

from __future__ import annotations

import csv
import io
import zlib
from decimal import Decimal
from itertools import accumulate
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.producer.sources import streams
from services.producer.sources.files import Input
from services.producer.sources.source import FLUSH, Accepted, CutOff, Rejected
from services.producer.sources.streams import decompressed, lines
from shared.errors import InputError
from shared.schema import encode_order
from tests.support import strategies as some
from tests.support.inputs import Reader

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from shared.schema import Order

quickly = settings(deadline=None, max_examples=some.examples(80))


class Reading(NamedTuple):
    """What came out of an input."""

    orders: list[Order]
    rejected: list[str | None]
    is_cut_off: bool = False
    is_unusable: bool = False


@pytest.fixture(scope="module")
def read(tmp_path_factory: pytest.TempPathFactory) -> Callable[[bytes], Reading]:
    """Read bytes as the command reads a file."""
    path: Path = tmp_path_factory.mktemp("csv") / "orders"

    def read(data: bytes) -> Reading:
        path.write_bytes(data)
        found = Reading([], [])
        try:
            source = Input(str(path), -1)
        except InputError:
            return found._replace(is_unusable=True)
        try:
            for incoming in source.orders():
                if isinstance(incoming, Accepted):
                    assert incoming.canonical == encode_order(incoming.order)
                    found.orders.append(incoming.order)
                elif isinstance(incoming, Rejected):
                    assert incoming.reasons
                    found.rejected.append(incoming.order_id)
        except CutOff:
            found = found._replace(is_cut_off=True)
        finally:
            source.close()
        return found

    return read


@quickly
@given(st.data())
def test_any_style_of_csv_yields_the_orders_that_were_written(
    read: Callable[[bytes], Reading], data: st.DataObject
) -> None:
    orders, file = data.draw(some.csv_files())
    if data.draw(st.booleans()):
        file = b"".join(data.draw(some.gzipped(file)))
    assert read(file) == Reading(orders, [])


@quickly
@given(st.binary(max_size=300), st.data())
def test_lines_do_not_depend_on_how_the_bytes_arrive(content: bytes, data: st.DataObject) -> None:
    packed = content
    if data.draw(st.booleans()):
        packed = b"".join(data.draw(some.gzipped(content)))
        padding = b"\0" * data.draw(st.integers(0, 3))
        packed += padding
    elif content.startswith(b"\x1f\x8b"):
        return
    arriving: list[Any] = []
    for chunk in data.draw(some.pieces(packed)):
        if data.draw(st.booleans()):
            arriving.append(FLUSH)
        arriving.append(chunk)
    found = [line for line in lines(decompressed(iter(arriving))) if line is not FLUSH]
    assert found == list(lines(iter([content] if content else [])))
    texts = content.removeprefix(b"\xef\xbb\xbf").split(b"\n")
    expected = texts if texts[-1] or (len(texts) == 1 and content) else texts[:-1]
    assert [line.text for line in found] == [text.removesuffix(b"\r") for text in expected]


@quickly
@given(st.data())
def test_a_truncated_gzip_yields_whole_orders_only(
    read: Callable[[bytes], Reading], data: st.DataObject
) -> None:
    orders, file = data.draw(some.csv_files())
    members = data.draw(some.gzipped(file))
    ends = list(accumulate(map(len, members)))
    cut = data.draw(st.integers(1, ends[-1] - 1))
    if cut in ends:
        return  # between members there is nothing to see: as in a plain file
    found = read(b"".join(members)[:cut])
    assert found.orders == orders[: len(found.orders)]
    assert found.is_cut_off or found.is_unusable
    assert len(found.rejected) <= 1


def test_a_gzip_that_is_cut_between_two_rows_rejects_their_order(
    read: Callable[[bytes], Reading],
) -> None:
    row = b"o-%d,c-1,USD,2026-01-31T09:30:00Z,tea,1,1.00\n"
    packer = zlib.compressobj(wbits=31)
    whole = b",".join(name.encode() for name in some.HEADER) + b"\n" + row % 1 + row % 2
    packed = packer.compress(whole) + packer.flush(zlib.Z_SYNC_FLUSH)
    rest = packer.compress(row % 2) + packer.flush()
    assert [len(order.items) for order in read(packed + rest).orders] == [1, 2]
    found = read(packed)
    assert [order.order_id for order in found.orders] == ["o-1"]
    assert (found.rejected, found.is_cut_off) == (["o-2"], True)


@quickly
@given(st.data())
def test_a_damaged_gzip_never_counts_as_read_to_its_end(
    read: Callable[[bytes], Reading], data: st.DataObject
) -> None:
    orders, file = data.draw(some.csv_files())
    (member,) = data.draw(some.gzipped(file, members=1))
    place = data.draw(st.integers(10, len(member) - 1))
    flipped = bytes([member[place] ^ data.draw(st.integers(1, 255))])
    found = read(member[:place] + flipped + member[place + 1 :])
    assert found.is_cut_off or found.is_unusable or found == Reading(orders, [])


@settings(deadline=None, max_examples=some.examples(200))
@given(st.data())
def test_a_truncated_plain_file_changes_nothing_but_its_last_row(
    read: Callable[[bytes], Reading], data: st.DataObject
) -> None:
    orders, file = data.draw(some.csv_files())
    cut = data.draw(st.integers(0, len(file)))
    found = read(file[:cut])
    if not found.orders:
        return
    *whole, last = found.orders
    assert whole == orders[: len(whole)]
    written = orders[len(whole)]
    assert last == written or is_cut_at_a_row_or_in_a_price(last, written, file[:cut])


def is_cut_at_a_row_or_in_a_price(last: Order, written: Order, kept: bytes) -> bool:
    """Whether an order is the first rows of what was written, but for the last digits."""
    rows = some.rows(written)[: len(last.items)]
    if some.rows(last) == rows:
        return True
    digits = kept.decode().rpartition(",")[2].strip('"')
    *_, full_price = rows[-1]
    rows[-1][-1] = some.rows(last)[-1][-1]
    return (
        some.rows(last) == rows
        and full_price.startswith(digits)
        and Decimal(digits) == Decimal(rows[-1][-1])
    )


@settings(deadline=None, max_examples=some.examples(200))
@given(st.data())
def test_whatever_happened_to_a_file_an_order_is_taken_whole_or_not_at_all(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """Rows in any order, joined files, text in quotes that looks like orders, stray quotes."""
    table, file, is_cut = data.draw(some.spoiled_csv_files())
    read = Reader(tmp_path_factory.getbasetemp())
    packed = b"".join(data.draw(some.gzipped(file)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(streams, "CHUNK_BYTES", data.draw(st.sampled_from([7, 64, 200, 4000])))
        readings = [read(file), read(packed, "orders.csv.gz"), read(file, "orders")]
    assert readings[0].ids == readings[1].ids == readings[2].ids
    rows_read, is_sound = rows_of(file)
    wanted = rows_in_one_place(rows_read if is_sound or is_cut else table)
    for found in readings:
        assert len(set(found.ids)) == len(found.ids)
        for order in found.accepted:
            rows = wanted[order.order_id]
            assert [int(row[5]) for row in rows] == [item.quantity for item in order.items]
            assert [Decimal(row[6]) for row in rows] == [
                Decimal(row[6]) for row in some.rows(order)
            ]
            assert not is_sound or [row[4] for row in rows] == [item.sku for item in order.items]
    piped = read.pipe(file)
    assert {*readings[0].ids} <= {*piped.ids}
    in_part = {*piped.ids} - {*readings[0].ids}
    if piped.cut is None:
        assert all(f"{order_id}" in (piped.problem or "") for order_id in in_part)


def rows_of(file: bytes) -> tuple[list[list[str]], bool]:
    """Read a file as Python's own reader of CSV does, as far as its quotes match."""
    rows = []
    try:
        for row in csv.reader(io.StringIO(file.decode(), newline=""), strict=True):
            rows.append(row)  # noqa: PERF402  those before an error count
    except csv.Error:
        return rows, False
    return rows, True


def rows_in_one_place(table: Iterable[list[str]]) -> dict[str, list[list[str]]]:
    """Gather the rows of each id, but for those that come in several places."""
    found: dict[str, list[list[str]]] = {}
    latest, apart = "", set()
    for row in table:
        if not "".join(row).strip():
            continue
        order_id = row[0].strip()
        if order_id != latest and order_id in found:
            apart.add(order_id)
        found.setdefault(order_id, []).append(row)
        latest = order_id
    return {order_id: rows for order_id, rows in found.items() if order_id not in apart}
