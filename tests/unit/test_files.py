"""Files of orders, row by row and line by line: what is taken, and what is refused."""

from __future__ import annotations

import gzip
import tracemalloc

import pytest

from services.producer.sources.csv_orders import HEADER
from tests.support.inputs import MAX_LINE, Reader, csv_of, jsonl_of, order, row

QUOTED = ",".join(f'"{name}"' for name in HEADER.split(","))


@pytest.mark.parametrize(
    ("bad", "columns"), [("o1,c1,USD", 3), (row() + ",more", 8), ("o1", 1), (row() + row(), 13)]
)
def test_a_row_with_too_few_or_too_many_columns_spoils_its_order_alone(
    read: Reader, bad: str, columns: int
) -> None:
    found = read(csv_of(row("before"), row(), bad, row(), row("after")))
    assert found.ids == ["before", "after"]
    assert found.rejected_ids == ["o1"]
    assert found.why == [f"line 4: must have 7 columns, not {columns}"]
    assert found.rejected[0].source_line.line == 3
    assert found.cut is None


@pytest.mark.parametrize(
    ("name", "other", "field"),
    [
        ("customer_id", "c2", "customer"),
        ("currency", "EUR", "currency"),
        ("placed_at", "2026-01-31T09:30:01Z", "at"),
    ],
)
def test_rows_of_one_order_must_agree(read: Reader, name: str, other: str, field: str) -> None:
    found = read(csv_of(row(), row(**{field: other}), row("good")))
    assert found.ids == ["good"]
    assert found.why == [f"line 3 {name}: must be the same in all rows, not {other!r}"]


def test_all_that_is_wrong_with_an_order_is_said_at_once(read: Reader) -> None:
    found = read(csv_of(row(quantity="0"), row(price="x"), row(customer="c2"), "o1,"))
    assert found.why == [
        "line 3 unit_price: must be a plain decimal in major units, like 11.77, not 'x'",
        "line 4 customer_id: must be the same in all rows, not 'c2'",
        "line 5: must have 7 columns, not 2",
        "line 2 quantity: must be at least 1, not 0",
    ]


def test_an_order_that_never_ends_is_refused_without_gathering_it(read: Reader) -> None:
    bad = [row(customer=f"c{number}", quantity="x") for number in range(20_000)]
    found = read(csv_of(*bad, row("good")))
    assert found.ids == ["good"]
    assert found.rejected_ids == ["o1"]
    assert len(found.why) < 510


@pytest.mark.parametrize("name", ["orders.csv", "orders.jsonl", "orders"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_line_ends_marks_and_blank_lines_make_no_difference(
    read: Reader, name: str, end: str, mark: bytes
) -> None:
    if name == "orders.jsonl":
        content = jsonl_of(order("o1"), order("o2")).replace(b"\n", f"{end}{end}".encode())
    else:
        content = csv_of(row("o1"), "", row("o2"), end=end)
    found = read(mark + content, name)
    assert (found.ids, found.rejected, found.cut) == (["o1", "o2"], [], None)
    assert read(mark + content.rstrip(), name).ids == ["o1", "o2"]


def test_csv_may_be_quoted(read: Reader) -> None:
    quoted = '"o1","c1","USD","2026-01-31T09:30:00Z","S ""1"", large","2","1.50"'
    header = ",".join(f'"{name}"' for name in HEADER.split(","))
    found = read(f"{header}\n{quoted}\n".encode())
    assert found.accepted[0].items[0].sku == 'S "1", large'
    assert found.accepted[0].total == 300


@pytest.mark.parametrize(
    "joint",
    [
        HEADER,
        f"\ufeff{HEADER}",
        QUOTED,
        f"\ufeff{QUOTED}",
        QUOTED.replace('"customer_id"', "customer_id"),
    ],
)
def test_joined_csv_files_bring_their_headers_along(read: Reader, joint: str) -> None:
    found = read(csv_of(row("o1"), joint, row("o2")))
    assert (found.ids, found.rejected) == (["o1", "o2"], [])


def test_csv_files_joined_without_a_line_end_lose_only_the_order_at_the_joint(read: Reader) -> None:
    found = read(csv_of(row("o1"), row("o2")).rstrip() + csv_of(row("o3")))
    assert found.ids == ["o1", "o3"]
    assert found.why == ["line 3: must have 7 columns, not 13"]


@pytest.mark.long
@pytest.mark.parametrize("name", ["orders.csv", "orders.jsonl", "orders.csv.gz"])
def test_a_line_of_ten_megabytes_is_refused_in_flat_memory(read: Reader, name: str) -> None:
    huge = "x" * 10_000_000
    if name == "orders.jsonl":
        content = jsonl_of(order("o1"), order("o2", customer_id=huge), order("o3"))
    else:
        content = csv_of(row("o1"), row("o2", sku=huge), row("o3"))
    if name.endswith(".gz"):
        content = gzip.compress(content, 1)
    del huge
    tracemalloc.start()
    found = read(content, name)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (found.ids, found.cut) == (["o1", "o3"], None)
    assert found.rejected_ids == ["o2"]
    assert "must have at most 1,048,576 bytes" in found.why[0]
    assert peak < 4 * MAX_LINE
