"""Characters in mid-line that may end a row: both rows are refused, and their orders whole."""

from __future__ import annotations

import gzip

import pytest

from services.producer.sources.csv_orders import HEADER
from tests.support.inputs import MAX_LINE, Reader, csv_of, row

RETURN = r"a CR in the line may end a row: make it a line end, tr '\r' '\n', or take it out"
ENDS = ["\r", "\0", "\x0b", "\x0c", "\x1c", "\x1d", "\x1e", "\x85", "\u2028", "\u2029"]
OTHER_ROWS = [row("o2", sku="S-2"), row("o3")]


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("price", ["1.50", '"1.50"'])
def test_no_order_is_accepted_without_its_row_behind_a_character_that_may_end_one(
    read: Reader, end: str, price: str
) -> None:
    content = csv_of(row("o1", price=price) + end + row("o2"), *OTHER_ROWS)
    for found in (read(content), read(gzip.compress(content), "o.csv.gz"), read.pipe(content)):
        assert (found.ids, found.rejected_ids) == (["o3"], ["o1", "o2"])
        assert (found.cut, found.problem) == (None, None)
        name = "a CR" if end == "\r" else f"U+{ord(end):04X}"
        assert all(why.startswith(f"line 2: {name} in the line may end a row") for why in found.why)


def test_an_order_whose_other_rows_come_before_or_elsewhere_is_refused_as_well(
    read: Reader,
) -> None:
    content = csv_of(row("o2"), row("o4"), row("o1") + "\r" + row("o2"), row("o3"), row("o1"))
    found = read(content)
    assert (found.ids, found.rejected_ids) == (["o4", "o3"], ["o2", "o1"])
    found = read.pipe(content)
    assert (found.ids, found.rejected_ids) == (["o2", "o4", "o3"], ["o1", "o2", "o1"])
    assert found.problem is not None
    assert ": o2; " in found.problem


@pytest.mark.parametrize("text", ["o\r1", "o1\r", "\ro1", "o\r\r1"])
def test_an_id_that_comes_apart_is_still_that_of_the_order(read: Reader, text: str) -> None:
    content = csv_of(row(text), row("o2"), row("o1"))
    for found in (read(content), read.pipe(content)):
        assert found.ids == ["o2"]
        assert "o1" in found.rejected_ids
        assert any(RETURN in why for why in found.why)


def test_a_field_with_a_return_spoils_its_order_alone(read: Reader) -> None:
    content = csv_of(row("o1", sku="te\ra"), row("o1"), row("o2"))
    for found in (read(content), read.pipe(content)):
        assert found.ids == ["o2"]
        assert f"line 2: {RETURN}" in found.why


def test_what_may_end_a_row_ends_none_inside_quotes(read: Reader) -> None:
    for end in ENDS:
        sku = f'"text:{end}{row("o2", price="99.00")}{end}"'
        content = csv_of(row("o1", sku=sku), row("o2"), row("o3"))
        for found in (read(content), read.pipe(content)):
            assert (found.ids, found.rejected_ids) == (["o2", "o3"], ["o1"])
            assert found.why[0].startswith("line 2 sku: must ")


def test_returns_before_a_line_end_belong_to_it(read: Reader) -> None:
    content = f"{HEADER}\r\n{row()}\r\r\n{row('o2')}\r".encode()
    for found in (read(content), read.pipe(content)):
        assert (found.ids, found.rejected) == (["o1", "o2"], [])


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r", ""])
def test_a_line_of_a_megabyte_of_rows_hides_none_of_them(read: Reader, end: str) -> None:
    names = [f"o{number}" for number in range(2000)]
    hidden = "\r".join(row(name, sku="x" * (MAX_LINE // 800)) for name in names) + end
    content = csv_of(row("a"), row("o7"), row(names[-1])) + hidden.encode()
    found = read(content)
    assert found.ids == ["a"]
    assert set(found.rejected_ids) == set(names)
    assert (found.cut is None) == bool(end)
    content += b"\n" * (not end.endswith("\n")) + csv_of(row("b"))
    found = read(gzip.compress(content, 1), "orders.csv.gz")
    assert found.ids == ["a", "b"]
    assert set(found.rejected_ids) == set(names)


@pytest.mark.parametrize("size", [1, 200, 300_000, 3_000_000])
def test_a_tail_of_nul_bytes_is_an_end_in_the_middle(read: Reader, size: int) -> None:
    """As a crash leaves it: the rows that were there may have been more of the last order."""
    found = read(csv_of(row("o1")) + b"\0" * size)
    assert found.ids == ["o1"]
    assert found.cut is not None or found.rejected
