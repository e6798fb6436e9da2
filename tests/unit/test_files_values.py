"""Single values of CSV and JSON Lines: what is taken, what is refused, and in which words."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.support.inputs import TIME, Reader, csv_of, item, jsonl_of, order, row


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
        ("USD", "29.9900", 2999),
        ("JPY", "500.00", 500),
        ("KWD", "1.2340000", 1234),
        ("USD", f"1.{'0' * 25}", 100),
    ],
)
def test_a_csv_price_becomes_minor_units_by_the_currency(
    read: Reader, currency: str, price: str, minor_units: int
) -> None:
    (found,) = read(csv_of(row(currency=currency, price=price))).accepted
    assert found.items[0].unit_price == minor_units


@pytest.mark.parametrize(
    ("currency", "price", "digits"),
    [("USD", "1.234", 2), ("JPY", "1.5", 0), ("KWD", "1.2345", 3), ("USD", "29.9901", 2)],
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
    assert [each.source_line.line for each in found.rejected] == [3 if form == "csv" else 2]
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
    assert [each.source_line.line for each in found.rejected] == [1]
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


def test_twenty_faults_of_an_order_are_told(read: Reader) -> None:
    faulty = [{"sku": "S-1", "quantity": 0, "unit_price": -1}] * 400
    for found in (
        read(csv_of(*[row(quantity="x", price="y")] * 400, row("good"))),
        read(jsonl_of(order(items=faulty), order("good")), "orders.jsonl"),
    ):
        assert found.ids == ["good"]
        assert len(found.why) == 21
        assert found.why[-1] == "order: breaks more rules than these 20"
