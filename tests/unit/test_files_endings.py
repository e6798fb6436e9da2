"""Inputs that end in the middle, that are none, or that wait: files, gzip and pipes."""

from __future__ import annotations

import gzip
import os
import threading
from typing import TYPE_CHECKING

import pytest

from services.producer.sources.csv_orders import HEADER
from services.producer.sources.files import Input
from services.producer.sources.source import FLUSH, Accepted, Stopped
from shared.errors import InputError
from tests.support.inputs import Found, Reader, collect, csv_of, jsonl_of, order, row

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.mark.parametrize(
    ("tail", "ids", "cut_id"),
    [
        (b"o2,c1,USD", ["o1"], "o2"),  # another row of the order before
        (b"o2", ["o1"], "o2"),
        (b"o", ["o1"], "o2"),  # may have been one
        (b"o3,c1,USD", ["o1", "o2"], "o3"),  # another order: the one before is whole
        (b"o3", ["o1", "o2"], "o3"),
        (b'"o3,c1', ["o1", "o2"], "o3"),
    ],
)
def test_a_csv_cut_in_its_last_line_rejects_the_order_that_was_cut(
    read: Reader, tail: bytes, ids: list[str], cut_id: str
) -> None:
    found = read(csv_of(row("o1"), row("o2")) + tail)
    assert found.ids == ids
    assert found.rejected_ids == [cut_id]
    assert found.why == ["line 4: is cut off: the last line ends in the middle"]
    assert found.cut is not None
    assert found.cut.line == 4


@pytest.mark.parametrize(
    ("tail", "ids", "cut_id"),
    [
        (b"o2,c1,USD,\xff,S,1,1.00\n", ["o1"], "o2"),
        (b"\xff\xfe\n", ["o1"], "o2"),
        (b"o\xff,c1\n", ["o1"], "o2"),
        (b"o3,c1,USD,\xff,S,1,1.00\n", ["o1", "o2"], "o3"),
    ],
)
def test_csv_bytes_that_are_not_utf8_end_the_input_at_their_order(
    read: Reader, tail: bytes, ids: list[str], cut_id: str
) -> None:
    found = read(csv_of(row("o1"), row("o2")) + tail + row("after").encode())
    assert found.ids == ids
    assert found.rejected_ids == [cut_id]
    assert found.why == ["line 4: has bytes that are not UTF-8"]
    assert found.cut is not None


@pytest.mark.parametrize(
    ("tail", "why"),
    [
        (b'{"order_id": "o2", "cust', "the last line ends in the middle"),
        (b'{"order_id": "o\xff"}\n{}\n', "bytes that are not UTF-8"),
    ],
)
def test_jsonl_that_is_cut_rejects_the_order_that_was_cut(
    read: Reader, tail: bytes, why: str
) -> None:
    found = read(jsonl_of(order("o1")) + tail, "orders.jsonl")
    assert found.ids == ["o1"]
    assert [each.source_line.line for each in found.rejected] == [2]
    assert found.cut is not None
    assert (found.cut.line, found.cut.why) == (2, why)


@pytest.mark.parametrize(
    ("line", "name"), [(row("o2", price="x"), "orders.csv"), ("{}", "orders.jsonl")]
)
def test_a_last_line_that_is_whole_but_wrong_is_no_cut(read: Reader, line: str, name: str) -> None:
    head = csv_of(row("o1")) if name == "orders.csv" else jsonl_of(order("o1"))
    found = read(head + line.encode(), name)
    assert (found.ids, len(found.rejected), found.cut) == (["o1"], 1, None)


def test_a_last_row_with_too_many_columns_is_no_cut(read: Reader) -> None:
    found = read(csv_of(row("o1"), row("o2") + ",more").rstrip())
    assert (found.ids, found.rejected_ids, found.cut) == (["o1"], ["o2"], None)


@pytest.mark.parametrize("name", ["orders.csv.gz", "orders.jsonl.gz"])
def test_gzip_cut_anywhere_accepts_no_order_in_part(read: Reader, name: str) -> None:
    two_items = [{"sku": f"S-{number}", "quantity": 1, "unit_price": 150} for number in (1, 2)]
    whole = {f"o{number}": 300 for number in range(1, 9)}
    if ".csv" in name:
        content = csv_of(*[row(each, sku=f"S-{number}") for each in whole for number in (1, 2)])
    else:
        content = jsonl_of(*[order(each, items=two_items) for each in whole])
    packed = gzip.compress(content)
    seen = set()
    for size in range(2, len(packed)):
        found = read(packed[:size], name)
        assert found.cut is not None
        assert "gzip data ends in the middle" in found.cut.why
        assert found.ids == list(whole)[: len(found.ids)]
        assert all(each.total == 300 for each in found.accepted)
        assert len(found.rejected) <= 1
        seen.add((len(found.ids), len(found.rejected)))
    assert (0, 0) in seen
    assert (7, 1) in seen
    uncut = read(packed, name)
    assert (uncut.ids, uncut.cut) == (list(whole), None)


def test_a_cut_json_order_is_counted_as_rejected_in_gzip_too(read: Reader) -> None:
    stored = gzip.compress(jsonl_of(order("o1"), order("o2")), 0)
    found = read(stored[: 18 + len(jsonl_of(order("o1"))) + 20], "orders.jsonl.gz")
    assert found.ids == ["o1"]
    assert found.why == ["line: is cut off: the gzip data ends in the middle"]
    assert found.rejected[0].source_line.line == 2


def test_garbage_after_gzip_is_reported_and_what_came_before_stands(read: Reader) -> None:
    found = read(gzip.compress(jsonl_of(order("o1"), order("o2"))) + b"garbage", "orders.jsonl.gz")
    assert found.ids == ["o1", "o2"]
    assert found.cut is not None
    assert "the gzip data is damaged" in found.cut.why


def test_gzip_may_have_several_members_and_padding(read: Reader) -> None:
    packed = gzip.compress(csv_of(row("o1"))) + b"\0" * 512 + gzip.compress(csv_of(row("o2")))
    found = read(packed + b"\0" * 512, "orders")
    assert (found.ids, found.cut) == (["o1", "o2"], None)


# Inputs that are none


@pytest.mark.parametrize(
    ("content", "name", "message"),
    [
        (b"", "orders.csv", "orders.csv: is empty; a CSV file begins with its header"),
        (b"\n\n", "orders.csv", "orders.csv: is empty"),
        (gzip.compress(b"", mtime=0), "orders.csv.gz", "orders.csv.gz: is empty"),
        (b"id,name\n1,x\n", "orders.csv", f"orders.csv, line 1: the header must be {HEADER}"),
        (b"\n\nid,name\n", "orders.csv", "orders.csv, line 3: the header must be"),
        (HEADER.upper().encode(), "orders.csv", "orders.csv, line 1: the header must be"),
        (HEADER.replace(",", ";").encode(), "orders.csv", "line 1: the header must be"),
        (row().encode(), "orders.csv", "orders.csv, line 1: the header must be"),
        (b"{}\n", "orders.csv", "orders.csv, line 1: the header must be"),
        (b"PK\x03\x04 a spreadsheet", "orders.xlsx", "orders.xlsx, line 1: the header must be"),
        (b"x" * 2_000_000, "orders", "orders, line 1: the header must be"),
    ],
)
def test_a_file_that_holds_no_orders_is_refused_when_it_is_opened(
    tmp_path: Path, content: bytes, name: str, message: str
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(InputError) as caught:
        Input(str(path), wake=-1)
    text = str(caught.value)
    assert message in text
    assert text.startswith(str(tmp_path))
    assert len(text) < 500


@pytest.mark.parametrize("name", ["orders.jsonl", "orders.ndjson.gz", "orders"])
def test_an_empty_file_of_json_lines_holds_no_orders(read: Reader, name: str) -> None:
    assert read(b"", name) == Found()


def test_a_device_that_fails_is_refused_when_it_is_opened() -> None:
    with pytest.raises(InputError, match=r"^/proc/self/mem: cannot be opened: Input/output error"):
        Input("/proc/self/mem", wake=-1)


@pytest.mark.parametrize("path", ["/dev/null", "/proc/self/status"])
def test_a_special_file_is_read_like_any_other(path: str) -> None:
    if path == "/dev/null":
        assert collect(Input(path, wake=os.pipe()[0])) == Found()
    else:
        with pytest.raises(InputError, match="header"):
            collect(Input(path, wake=os.pipe()[0]))


# Pipes


@pytest.fixture
def pipe(tmp_path: Path) -> Iterator[tuple[Input, int, int]]:
    """An input from a named pipe, its writing end, and what wakes its reader."""
    path = tmp_path / "pipe"
    os.mkfifo(path)
    reader_holds_it = os.open(path, os.O_RDWR)
    wake, waker = os.pipe()
    source = Input(str(path), wake)
    yield source, reader_holds_it, waker
    for descriptor in (reader_holds_it, wake, waker):
        os.close(descriptor)
    source.close()


def test_a_pipe_says_when_nothing_more_is_there_just_now(pipe: tuple[Input, int, int]) -> None:
    source, writing_end, _ = pipe
    orders = source.orders()
    assert next(orders) is FLUSH
    os.write(writing_end, jsonl_of(order("o1")))
    found = next(orders)
    assert isinstance(found, Accepted)
    assert next(orders) is FLUSH


def test_a_stop_ends_the_wait_for_a_pipe_and_no_half_order_counts(
    pipe: tuple[Input, int, int],
) -> None:
    source, writing_end, waker = pipe
    os.write(writing_end, csv_of(row("o1"), row("o2")))
    found: list[str] = []

    def consume() -> None:
        try:
            found.extend(
                each.order.order_id for each in source.orders() if isinstance(each, Accepted)
            )
        except Stopped:
            found.append("stopped")

    thread = threading.Thread(target=consume)
    thread.start()
    os.write(waker, b"\0")
    thread.join(10)
    assert not thread.is_alive()
    assert found in (["stopped"], ["o1", "stopped"])
