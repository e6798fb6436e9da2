"""Reading orders from CSV and JSON Lines: what is taken, what is refused, and in which words."""

from __future__ import annotations

import gzip
import json
import os
import threading
import tracemalloc
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

from services.producer.csv_orders import HEADER
from services.producer.files import Input
from services.producer.source import PAUSE, Accepted, CutOff, Rejected, Stopped
from shared.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from shared.schema import Order

TIME = "2026-01-31T09:30:00Z"
MAX_LINE = 1024 * 1024


def row(
    order_id: str = "o1",
    *,
    customer: str = "c1",
    currency: str = "USD",
    at: str = TIME,
    sku: str = "S-1",
    quantity: str = "1",
    price: str = "1.50",
) -> str:
    return f"{order_id},{customer},{currency},{at},{sku},{quantity},{price}"


def csv_of(*rows: str, end: str = "\n") -> bytes:
    return "".join(f"{line}{end}" for line in (HEADER, *rows)).encode()


def order(order_id: object = "o1", **fields: Any) -> dict[str, Any]:
    plain = {
        "order_id": order_id,
        "customer_id": "c1",
        "currency": "USD",
        "placed_at": TIME,
        "items": [{"sku": "S-1", "quantity": 1, "unit_price": 150}],
    }
    return plain | fields


def item(**fields: Any) -> dict[str, Any]:
    return order(items=[{"sku": "S-1", "quantity": 1, "unit_price": 150} | fields])


def jsonl_of(*orders: dict[str, Any]) -> bytes:
    return "".join(f"{json.dumps(each)}\n" for each in orders).encode()


@dataclass
class Found:
    """What an input held."""

    accepted: list[Order] = field(default_factory=list)
    rejected: list[Rejected] = field(default_factory=list)
    cut: CutOff | None = None

    @property
    def ids(self) -> list[str]:
        return [each.order_id for each in self.accepted]

    @property
    def rejected_ids(self) -> list[str | None]:
        return [each.order_id for each in self.rejected]

    @property
    def why(self) -> list[str]:
        return [str(reason) for each in self.rejected for reason in each.reasons]


def collect(source: Input) -> Found:
    found = Found()
    try:
        for incoming in source.orders():
            if isinstance(incoming, Accepted):
                found.accepted.append(incoming.order)
            elif isinstance(incoming, Rejected):
                found.rejected.append(incoming)
    except CutOff as cut:
        found.cut = cut
    finally:
        source.close()
    return found


@dataclass
class Reader:
    """Reads bytes as a file of a certain name."""

    folder: Path

    def __call__(self, content: bytes, name: str = "orders.csv") -> Found:
        path = self.folder / name
        path.write_bytes(content)
        return collect(Input(str(path), wake=-1))


@pytest.fixture
def read(tmp_path: Path) -> Reader:
    return Reader(tmp_path)


# --- single values ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "-1",
        "1e3",
        "1_000",
        "+1",
        " 1",
        "1 ",
        "\u0663",
        "\uff11",
        "NaN",
        "",
        "1.0",
        "0x1",
        "1,",
        "9" * 26,
    ],
)
def test_a_csv_quantity_in_other_than_plain_digits_is_refused(read: Reader, text: str) -> None:
    found = read(csv_of(row("bad", quantity=f'"{text}"'), row("good")))
    assert found.ids == ["good"]
    assert found.why == [
        f"line 2 quantity: must be a whole number in plain digits, not {text!r}",
    ]


@pytest.mark.parametrize(
    ("quantity", "rule"), [("0", "must be at least 1"), ("1000001", "must be at most 1,000,000")]
)
def test_a_csv_quantity_out_of_range_is_refused_by_its_line(
    read: Reader, quantity: str, rule: str
) -> None:
    found = read(csv_of(row(), row(quantity=quantity), row("good")))
    assert found.ids == ["good"]
    assert found.why == [f"line 3 quantity: {rule}, not {quantity}"]


@pytest.mark.parametrize(
    "text",
    ["-1", "+1", "1e3", "1_000", "1,5", " 1", "\u0663.\u0665", "NaN", "inf", "", ".5", "5.", "$1"],
)
def test_a_csv_price_in_other_than_plain_decimals_is_refused(read: Reader, text: str) -> None:
    found = read(csv_of(row("bad", price=f'"{text}"'), row("good")))
    assert found.ids == ["good"]
    rule = "must be a plain decimal in major units, like 11.77"
    assert found.why == [f"line 2 unit_price: {rule}, not {text!r}"]


@pytest.mark.parametrize(
    ("currency", "price", "minor_units"),
    [
        ("USD", "11.77", 1177),
        ("USD", "11.7", 1170),
        ("USD", "11", 1100),
        ("USD", "0.00", 0),
        ("USD", "0.29", 29),
        ("USD", "10000000000.00", 10**12),
        ("JPY", "1177", 1177),
        ("KWD", "1.234", 1234),
        ("CLF", "1.2345", 12345),
    ],
)
def test_a_csv_price_becomes_minor_units_by_the_currency(
    read: Reader, currency: str, price: str, minor_units: int
) -> None:
    (found,) = read(csv_of(row(currency=currency, price=price))).accepted
    assert found.items[0].unit_price == minor_units


@pytest.mark.parametrize(
    ("currency", "price", "digits"), [("USD", "1.234", 2), ("JPY", "1.5", 0), ("KWD", "1.2345", 3)]
)
def test_more_decimals_than_the_currency_has_are_refused(
    read: Reader, currency: str, price: str, digits: int
) -> None:
    found = read(csv_of(row(currency=currency, price=price)))
    assert found.why == [
        f"line 2 unit_price: must have at most {digits} decimals in {currency}, not {price!r}"
    ]


_ID_RULE = "must consist of A-Z a-z 0-9 . _ : -"
_TIME_RULE = "must be an RFC 3339 time with an offset, like 2026-01-31T09:30:00Z"


@pytest.mark.parametrize(
    ("field", "value", "rule"),
    [
        ("order_id", "o 1", _ID_RULE),
        ("order_id", "o/1", _ID_RULE),
        ("order_id", "o\0", _ID_RULE),
        ("order_id", "ö1", _ID_RULE),
        ("order_id", "o" * 65, "must have at most 64 characters"),
        ("customer_id", "c 1", _ID_RULE),
        ("customer_id", "c/1", _ID_RULE),
        ("customer_id", "c\0", _ID_RULE),
        ("customer_id", "", "must not be empty"),
        ("customer_id", "c" * 65, "must have at most 64 characters"),
        ("currency", "XXX", "must be an active ISO 4217 code"),
        ("currency", "usd", "must be an active ISO 4217 code"),
        ("currency", "", "must be an active ISO 4217 code"),
        ("placed_at", "2026-01-31T09:30:00", _TIME_RULE),
        ("placed_at", "2026-01-31 09:30:00Z", _TIME_RULE),
        ("placed_at", "1769851800", _TIME_RULE),
        ("placed_at", "", _TIME_RULE),
        ("placed_at", "2026-02-30T09:30:00Z", "must be a time that exists, with an offset"),
        ("placed_at", "2026-01-31T25:30:00Z", "must be a time that exists, with an offset"),
        ("placed_at", "2026-01-31T09:30:00+25:00", "must be a time that exists, with an offset"),
        ("placed_at", "0001-01-01T00:00:00+10:00", "must be between the years 1 and 9999"),
    ],
)
@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_a_field_that_breaks_its_rule_is_named_once_with_the_rule(
    read: Reader, form: str, field: str, value: str, rule: str
) -> None:
    names = {"order_id": "order_id", "customer_id": "customer", "placed_at": "at"}
    if form == "csv":
        content = csv_of(row("good"), row(**{names.get(field, field): value}))
        place = f"line 3 {field}"
    else:
        content = jsonl_of(order("good"), order() | {field: value})
        place = field
    found = read(content, f"orders.{form}")
    assert found.ids == ["good"]
    assert [each.place.line for each in found.rejected] == [3 if form == "csv" else 2]
    (why,) = found.why
    assert why.startswith(f"{place}: {rule}, not ")


@pytest.mark.parametrize("sku", ["a\0", "a\tb", "a\u200b", "a\u2028", ""])
def test_a_sku_of_other_than_printable_characters_is_refused(read: Reader, sku: str) -> None:
    both = [
        read(csv_of(row("good"), row(sku=sku))),
        read(jsonl_of(order("good"), item(sku=sku)), "orders.jsonl"),
    ]
    for found in both:
        assert found.ids == ["good"]
        assert found.rejected_ids == ["o1"]
        assert "sku: must" in found.why[0]


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        (item(quantity=-1), "items[0].quantity: must be at least 1, not -1"),
        (item(quantity=0), "items[0].quantity: must be at least 1, not 0"),
        (item(quantity=1.0), "items[0].quantity: must be a whole number, not 1.0"),
        (item(quantity=1e3), "items[0].quantity: must be a whole number, not 1000.0"),
        (item(quantity=True), "items[0].quantity: must be a whole number, not True"),
        (item(quantity="1"), "items[0].quantity: must be a whole number, not '1'"),
        (item(quantity=None), "items[0].quantity: must be a whole number, not None"),
        (item(quantity=float("nan")), "items[0].quantity: must be a whole number, not nan"),
        (item(unit_price=-1), "items[0].unit_price: must be at least 0, not -1"),
        (item(unit_price=1.5), "items[0].unit_price: must be a whole number, not 1.5"),
        (item(unit_price=False), "items[0].unit_price: must be a whole number, not False"),
        (item(unit_price=10**12 + 1), "items[0].unit_price: must be at most 1,000,000,000,000"),
        (item(colour="red"), "items[0].colour: is not a field of an order"),
        (item(placed_at=TIME), "items[0].placed_at: is not a field of an order"),
        (order(note="x"), "note: is not a field of an order"),
        (order(datetime="x"), "datetime: is not a field of an order"),
        (order(items=[]), "items: must have at least 1 entry"),
        (order(items={}), "items: must be a list, not {}"),
        (order(items=[7]), "items[0]: must be an object, not 7"),
        (order(placed_at=1769851800), "placed_at: must be a string, not 1769851800"),
        (order(order_id=7), "order_id: must be a string, not 7"),
    ],
)
def test_a_json_value_of_the_wrong_kind_is_refused_by_its_place(
    read: Reader, fields: dict[str, Any], why: str
) -> None:
    found = read(jsonl_of(order("good"), fields), "orders.jsonl")
    assert found.ids == ["good"]
    assert len(found.why) == 1
    assert found.why[0].startswith(why)


@pytest.mark.parametrize("text", ["9" * 30, "9" * 5000, "1e999", "-0", "01"])
def test_a_number_of_absurd_size_or_form_is_refused(read: Reader, text: str) -> None:
    line = json.dumps(order()).replace('"quantity": 1', f'"quantity": {text}')
    found = read(f"{line}\n".encode() + jsonl_of(order("good")), "orders.jsonl")
    assert found.ids == ["good"]
    assert len(found.rejected) == 1


@pytest.mark.parametrize(
    ("doubled", "name"),
    [
        ('{"order_id": "o2", ', "order_id"),
        ('{"customer_id": "c2", ', "customer_id"),
        ('{"items": [], ', "items"),
    ],
)
def test_a_json_key_given_twice_is_refused_since_either_might_count(
    read: Reader, doubled: str, name: str
) -> None:
    line = json.dumps(order()).replace("{", doubled, 1)
    found = read(f"{line}\n".encode() + jsonl_of(order("good")), "orders.jsonl")
    assert found.ids == ["good"]
    assert found.why == [f"{name}: must not be given twice"]


@pytest.mark.parametrize(
    "line", ["[]", "null", "7", '"o1"', "{}", "{", "o1", "[" * 10_000, '{"a":' * 10_000]
)
def test_a_json_line_that_is_no_order_is_refused_and_the_next_is_read(
    read: Reader, line: str
) -> None:
    found = read(f"{line}\n".encode() + jsonl_of(order("good")), "orders.jsonl")
    assert found.ids == ["good"]
    assert [each.place.line for each in found.rejected] == [1]
    assert found.cut is None


def test_broken_json_counts_as_one_kind_of_reason_wherever_it_breaks(read: Reader) -> None:
    found = read(b'{"a": x}\n{"abc": x}\n', "orders.jsonl")
    assert found.why == [
        "order: must be JSON (expected value at column 7)",
        "order: must be JSON (expected value at column 9)",
    ]
    assert {reason.kind for each in found.rejected for reason in each.reasons} == {
        "order: must be JSON"
    }


def test_a_total_must_fit_in_63_bits(read: Reader) -> None:
    largest = row(quantity="1000000", price="10000000000")
    assert read(csv_of(*[largest] * 9)).accepted[0].total == 9 * 10**18
    found = read(csv_of(*[largest] * 10))
    assert found.why == ["line 2 total: must be below 2^63 minor units"]


@pytest.mark.parametrize(
    ("items", "why"),
    [
        (500, []),
        (501, ["items: must have at most 500 entries"]),
        (2000, ["items: must have at most 500 entries"]),
    ],
)
def test_an_order_has_at_most_500_items(read: Reader, items: int, why: list[str]) -> None:
    both = [
        read(csv_of(*[row()] * items, row("good"))),
        read(jsonl_of(order(items=order()["items"] * items), order("good")), "orders.jsonl"),
    ]
    for found in both:
        assert found.ids == (["good"] if why else ["o1", "good"])
        assert [text.removeprefix("line 2 ") for text in found.why] == why


# --- rows and lines --------------------------------------------------------------------------


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
    assert found.rejected[0].place.line == 3
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


def test_a_stray_quote_spoils_no_more_than_its_order(read: Reader) -> None:
    found = read(csv_of(row("o1"), row("o2", sku='"S'), row("o3"), row('"o4'), row("o5")))
    assert found.ids == ["o1", "o3", "o5"]
    assert found.rejected_ids == ["o2", "o4"]
    assert found.why == [f"line {line}: must be quoted as CSV is" for line in (3, 5)]


@pytest.mark.parametrize(
    "joint", [HEADER, f"\ufeff{HEADER}", ",".join(f'"{name}"' for name in HEADER.split(","))]
)
def test_joined_csv_files_bring_their_headers_along(read: Reader, joint: str) -> None:
    found = read(csv_of(row("o1"), joint, row("o2")))
    assert (found.ids, found.rejected) == (["o1", "o2"], [])


def test_csv_files_joined_without_a_line_end_lose_only_the_order_at_the_joint(read: Reader) -> None:
    found = read(csv_of(row("o1"), row("o2")).rstrip() + csv_of(row("o3")))
    assert found.ids == ["o1", "o3"]
    assert found.why == ["line 3: must have 7 columns, not 13"]


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
    assert found.rejected_ids == [None if name == "orders.jsonl" else "o2"]
    assert "must have at most 1,048,576 bytes" in found.why[0]
    assert peak < 4 * MAX_LINE


# --- inputs that end in the middle -----------------------------------------------------------


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
    assert found.why == ["line 4: is cut off: bytes that are not UTF-8"]
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
    assert [each.place.line for each in found.rejected] == [2]
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
    assert found.rejected[0].place.line == 2


def test_garbage_after_gzip_is_reported_and_what_came_before_stands(read: Reader) -> None:
    found = read(gzip.compress(jsonl_of(order("o1"), order("o2"))) + b"garbage", "orders.jsonl.gz")
    assert found.ids == ["o1", "o2"]
    assert found.cut is not None
    assert "the gzip data is damaged" in found.cut.why


def test_gzip_may_have_several_members_and_padding(read: Reader) -> None:
    packed = gzip.compress(csv_of(row("o1"))) + b"\0" * 512 + gzip.compress(csv_of(row("o2")))
    found = read(packed + b"\0" * 512, "orders")
    assert (found.ids, found.cut) == (["o1", "o2"], None)


# --- inputs that are none --------------------------------------------------------------------


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


# --- pipes -----------------------------------------------------------------------------------


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
    assert next(orders) is PAUSE
    os.write(writing_end, jsonl_of(order("o1")))
    found = next(orders)
    assert isinstance(found, Accepted)
    assert next(orders) is PAUSE


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
