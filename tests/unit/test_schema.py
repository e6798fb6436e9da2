"""The message schema: what goes out comes back, and what is no message is refused."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, TypeVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.errors import InvalidBatch, InvalidOrder
from shared.ledger.journal import digest
from shared.schema import (
    MAX_TOTAL,
    Order,
    OrderBatch,
    build_order,
    decode_batch,
    encode_batch,
    encode_nudge,
    encode_order,
    parse_order,
)
from tests.support import strategies as some

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import timedelta

T = TypeVar("T")

ORDER: dict[str, Any] = {
    "order_id": "o-1",
    "customer_id": "c-1",
    "currency": "USD",
    "placed_at": "2026-01-31T09:30:00Z",
    "items": [{"sku": "tea", "quantity": 2, "unit_price": 350}],
}
BATCH: dict[str, Any] = {
    "schema_version": 1,
    "ledger_id": "L",
    "partition": 3,
    "first": 7,
    "last": 7,
    "orders": [ORDER],
}
# Values that stand where others should, or beside them.
json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["", "{}", "USD", "2026-01-31", 2**63, -1, 1e400, 10**4000]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=5,
)
quickly = settings(deadline=None, max_examples=some.examples(150))


def as_json(value: object) -> bytes:
    return json.dumps(value).encode()


def understood(parse: Callable[[bytes | str], T], raw: bytes | str) -> T | None:
    """Parse; None if it was refused as it should be, with a reason."""
    try:
        return parse(raw)
    except (InvalidOrder, InvalidBatch) as refused:
        if not str(refused):
            raise
    return None


@quickly
@given(some.orders)
def test_an_order_survives_its_canonical_encoding(order: Order) -> None:
    canonical = encode_order(order)
    again, canonical_again = parse_order(canonical)
    assert again == order
    assert canonical_again == canonical
    assert again.total == sum(item.quantity * item.unit_price for item in order.items)


@quickly
@given(some.orders, some.offsets, st.sampled_from([None, 2]))
def test_however_an_order_is_written_its_canonical_encoding_is_one(
    order: Order, offset: timedelta, indent: int | None
) -> None:
    values = some.placed_elsewhere(order, offset)
    turned = dict(reversed(values.items()))
    written = json.dumps(turned, indent=indent, ensure_ascii=indent is None)
    assert parse_order(written) == (order, encode_order(order))
    assert parse_order(written.encode()) == (order, encode_order(order))
    built = values | {"items": tuple(values["items"])}
    assert build_order(built) == (order, encode_order(order))


@quickly
@given(some.orders, some.orders, st.data())
def test_orders_are_equal_exactly_when_their_digests_are(
    one: Order, other: Order, data: st.DataObject
) -> None:
    borrowed = data.draw(st.sets(st.sampled_from(list(Order.model_fields))))
    changes = {name: getattr(other, name) for name in borrowed}
    near = one.model_copy(update=changes)
    assert (near == one) == (digest(encode_order(near)) == digest(encode_order(one)))


@quickly
@given(
    some.ids,
    st.integers(0, 1023),
    st.integers(1, 2**62),
    st.lists(some.orders, min_size=1, max_size=4),
)
def test_a_batch_is_its_orders_joined(
    ledger_id: str, partition: int, first: int, orders: list[Order]
) -> None:
    encoded = encode_batch(ledger_id, partition, first, [encode_order(order) for order in orders])
    batch = OrderBatch(
        schema_version=1,
        ledger_id=ledger_id,
        partition=partition,
        first=first,
        last=first + len(orders) - 1,
        orders=tuple(orders),
    )
    assert encoded == batch.model_dump_json().encode()
    assert decode_batch(encoded) == batch


def test_a_nudge_is_a_batch_without_orders() -> None:
    nudge = decode_batch(encode_nudge("L", 5))
    assert (nudge.ledger_id, nudge.partition, nudge.orders) == ("L", 5, ())


@pytest.mark.parametrize(
    ("change", "place"),
    [
        ({"schema_version": 2}, "schema_version"),
        ({"schema_version": 0}, "schema_version"),
        ({"schema_version": "1"}, "schema_version"),
        ({"schema_version": None}, "schema_version"),
        ({"extra": 1}, "extra"),
        ({"orders": [ORDER | {"extra": 1}]}, "extra"),
        ({"orders": [ORDER, ORDER]}, "as many numbers as orders"),
        ({"last": 8}, "as many numbers as orders"),
        ({"last": 6}, "as many numbers as orders"),
        ({"first": 8}, "as many numbers as orders"),
        ({"first": -1}, "first"),
        ({"partition": -1}, "partition"),
        ({"partition": 3.0}, "partition"),
        ({"partition": True}, "partition"),
        ({"ledger_id": ""}, "ledger_id"),
        ({"ledger_id": 'L","partition":0,"x":"'}, "ledger_id"),
        ({"orders": None}, "orders"),
    ],
)
def test_a_batch_that_breaks_the_schema_is_refused(change: dict[str, Any], place: str) -> None:
    assert decode_batch(as_json(BATCH)).first == 7
    with pytest.raises(InvalidBatch, match=place):
        decode_batch(as_json(BATCH | change))


@pytest.mark.parametrize("name", list(BATCH))
def test_a_batch_lacks_nothing(name: str) -> None:
    with pytest.raises(InvalidBatch, match=f"{name}: is required"):
        decode_batch(as_json({key: value for key, value in BATCH.items() if key != name}))


@pytest.mark.parametrize(
    ("change", "place"),
    [
        ({"order_id": "a b"}, "order_id"),
        ({"order_id": "a/b"}, "order_id"),
        ({"order_id": "a\n"}, "order_id"),
        ({"order_id": "é"}, "order_id"),
        ({"order_id": ""}, "order_id"),
        ({"order_id": "a" * 65}, "order_id"),
        ({"order_id": 7}, "order_id"),
        ({"customer_id": "c/USD"}, "customer_id"),
        ({"currency": "usd"}, "currency"),
        ({"currency": "XAU"}, "currency"),
        ({"placed_at": "2026-01-31T09:30:00"}, "placed_at"),
        ({"placed_at": "2026-01-31"}, "placed_at"),
        ({"placed_at": "2026-02-30T09:30:00Z"}, "placed_at"),
        ({"placed_at": "2026-01-31T24:30:00Z"}, "placed_at"),
        ({"placed_at": "2026-01-31T09:30Z"}, "placed_at"),
        ({"placed_at": "0001-01-01T00:00:00+05:00"}, "placed_at"),
        ({"placed_at": "9999-12-31T23:59:59-05:00"}, "placed_at"),
        ({"placed_at": 1769852000}, "placed_at"),
        ({"placed_at": "1769852000"}, "placed_at"),
        ({"items": []}, "items"),
        ({"items": [ORDER["items"][0]] * 501}, "items"),
        ({"items": [ORDER["items"][0] | {"sku": "a\tb"}]}, "items[0].sku"),
        ({"items": [ORDER["items"][0] | {"sku": "a\u0000b"}]}, "items[0].sku"),
        ({"items": [ORDER["items"][0] | {"sku": "a\u200bb"}]}, "items[0].sku"),
        ({"items": [ORDER["items"][0] | {"quantity": 0}]}, "items[0].quantity"),
        ({"items": [ORDER["items"][0] | {"quantity": 1_000_001}]}, "items[0].quantity"),
        ({"items": [ORDER["items"][0] | {"quantity": 1.0}]}, "items[0].quantity"),
        ({"items": [ORDER["items"][0] | {"quantity": True}]}, "items[0].quantity"),
        ({"items": [ORDER["items"][0] | {"quantity": "1"}]}, "items[0].quantity"),
        ({"items": [ORDER["items"][0] | {"unit_price": -1}]}, "items[0].unit_price"),
        ({"items": [ORDER["items"][0] | {"unit_price": 10**12 + 1}]}, "items[0].unit_price"),
        ({"items": [ORDER["items"][0] | {"discount": 1}]}, "items[0].discount"),
        ({"total": 1}, "total"),
    ],
)
def test_an_order_that_breaks_the_schema_is_refused_by_name(
    change: dict[str, Any], place: str
) -> None:
    with pytest.raises(InvalidOrder) as refused:
        parse_order(as_json(ORDER | change))
    assert [reason.where for reason in refused.value.reasons] == [place]


@pytest.mark.parametrize(
    ("items", "places"),
    [([], ["items"]), ([{}], ["items[0].sku", "items[0].quantity", "items[0].unit_price"])],
)
def test_what_is_wrong_with_the_items_is_said_beside_what_is_wrong_before_them(
    items: list[object], places: list[str]
) -> None:
    bad = ORDER | {"customer_id": "c d", "currency": "usd", "items": items}
    with pytest.raises(InvalidOrder) as refused:
        parse_order(as_json(bad))
    assert [each.where for each in refused.value.reasons] == ["customer_id", "currency", *places]


def test_the_total_fits_in_63_bits() -> None:
    most = [{"sku": "a", "quantity": 1_000_000, "unit_price": 10**12}] * 9
    rest = MAX_TOTAL - 9 * 10**18
    most += [
        {"sku": "b", "quantity": 1_000_000, "unit_price": rest // 1_000_000},
        {"sku": "c", "quantity": 1, "unit_price": rest % 1_000_000},
    ]
    order, _ = parse_order(as_json(ORDER | {"items": most}))
    assert order.total == MAX_TOTAL
    most[-1]["unit_price"] = rest % 1_000_000 + 1
    with pytest.raises(InvalidOrder, match="total: must be below 2"):
        parse_order(as_json(ORDER | {"items": most}))


@quickly
@given(st.sampled_from(sorted(ORDER)), json_values, st.integers(0, len(ORDER)))
def test_a_key_that_comes_twice_is_refused(name: str, value: object, place: int) -> None:
    pairs = [(key, json.dumps(given_value)) for key, given_value in ORDER.items()]
    pairs.insert(place, (name, json.dumps(value)))
    raw = "{" + ", ".join(f'"{key}": {text}' for key, text in pairs) + "}"
    assert understood(parse_order, raw) is None
    assert understood(parse_order, raw.encode()) is None


def test_a_key_that_comes_twice_in_an_item_is_refused_even_if_equal() -> None:
    twice = as_json(ORDER).replace(b'"quantity": 2', b'"quantity": 2, "quantity": 2')
    with pytest.raises(InvalidOrder, match="quantity: must not be given twice"):
        parse_order(twice)
    hidden = as_json(ORDER).replace(b'"quantity": 2', b'"quantity": 2, "quant\\u0069ty": 1')
    with pytest.raises(InvalidOrder, match="quantity: must not be given twice"):
        parse_order(hidden)


@quickly
@given(some.orders, st.sampled_from([None, 2]), st.sampled_from(["", " \n\t"]))
def test_an_order_without_an_id_is_given_one_however_it_is_written(
    order: Order, indent: int | None, blanks: str
) -> None:
    values = order.model_dump(mode="json")
    order_id = values.pop("order_id")
    written = blanks + json.dumps(values, indent=indent) + blanks
    assert parse_order(written.encode(), order_id) == (order, encode_order(order))


def test_an_order_that_is_given_its_id_keeps_the_rules_that_are_looked_at_last() -> None:
    values = {name: value for name, value in ORDER.items() if name != "order_id"}
    twice = as_json(values).replace(b'"quantity": 2', b'"quantity": 2, "quantity": 1')
    with pytest.raises(InvalidOrder, match="quantity: must not be given twice"):
        parse_order(twice, "o-1")
    dear = [{"sku": "a", "quantity": 1_000_000, "unit_price": 10**12}] * 10
    with pytest.raises(InvalidOrder, match="total: must be below 2"):
        parse_order(as_json(values | {"items": dear}), "o-1")


@quickly
@given(st.binary(max_size=64) | st.text(max_size=64))
def test_noise_is_refused_in_our_own_words(raw: bytes | str) -> None:
    assert understood(parse_order, raw) is None
    assert understood(decode_batch, raw) is None


@settings(deadline=None, max_examples=some.examples(400))
@given(st.sampled_from([ORDER, BATCH]), st.data())
def test_a_damaged_message_is_refused_in_our_own_words_or_read(
    message: dict[str, Any], data: st.DataObject
) -> None:
    raw = as_json(message)
    start = data.draw(st.integers(0, len(raw)))
    end = data.draw(st.integers(start, min(len(raw), start + 20)))
    doubled = st.just(raw[start:end] * 2)
    noise = data.draw(st.binary(max_size=6) | json_values.map(as_json) | doubled)
    raw = raw[:start] + noise + raw[end:]
    if (parsed := understood(parse_order, raw)) is not None:
        assert parse_order(parsed[1]) == parsed
    if (batch := understood(decode_batch, raw)) is not None:
        assert not batch.orders or len(batch.orders) == batch.last - batch.first + 1


@quickly
@given(st.sampled_from(sorted(ORDER)), json_values)
def test_a_value_of_any_kind_is_refused_in_our_own_words_or_kept(name: str, value: object) -> None:
    parsed = understood(parse_order, as_json(ORDER | {name: value}))
    assert parsed is None or parse_order(parsed[1]) == parsed
