"""Bodies that are no orders, of every kind there is: always a problem document, never accepted."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tests.support.ledgers import order
from tests.support.server import problem_of
from tests.support.strategies import examples

if TYPE_CHECKING:
    from tests.support.server import Server

GOOD = order("fuzz-1") | {"items": [{"sku": "Müsli", "quantity": 1, "unit_price": 100}]}
RAW = json.dumps(GOOD, ensure_ascii=False)
ID = r"[A-Za-z0-9._:-]{1,64}"
LIMIT = 1024 * 1024
# What begins so is no text: it is refused by its type.
PACKED = (b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"PK\x03\x04", b"\xff\xfe", b"\xfe\xff")

pytestmark = pytest.mark.usefixtures("nothing_accepted")


def refuse(shop: Server, body: bytes) -> None:
    """Send it by itself, and as a line among others: it is refused with what is wrong."""
    if body.startswith(PACKED):
        problem_of(shop.place(body), 415, "not-json")
    else:
        document = problem_of(shop.place(body), 422, "invalid-order")
        assert document["errors"]
        for error in document["errors"]:
            assert error["where"]
            assert error["rule"]
            assert len(error["value"]) <= 100
    line = body.replace(b"\n", b"\r")
    answers = shop.bulk(b"\n" + line)
    assert [(each["line"], each["code"]) for each in answers] == [(2, 422)] * bool(line.strip())
    assert all(each["error"] for each in answers)


def with_field(path: str, raw: str) -> bytes:
    """Put raw JSON in the place of a field's value."""
    for name in (
        "order_id",
        "customer_id",
        "currency",
        "placed_at",
        "sku",
        "quantity",
        "unit_price",
    ):
        if name == path:
            marked = json.loads(RAW)
            (marked if name in marked else marked["items"][0])[name] = "HERE"
            return json.dumps(marked).replace('"HERE"', raw).encode(errors="surrogatepass")
    raise AssertionError(path)


def test_an_order_cut_off_after_any_byte_is_refused(shop: Server) -> None:
    whole = RAW.encode()
    for end in range(len(whole)):
        refuse(shop, whole[:end])


def test_an_order_that_begins_after_any_byte_is_refused(shop: Server) -> None:
    whole = RAW.encode()
    for start in range(1, len(whole)):
        refuse(shop, whole[start:])


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b" \n",
        b"\x00",
        b"null",
        b"true",
        b"7",
        b'"order"',
        b"[]",
        b"{}",
        b"[" + RAW.encode() + b"]",
        RAW.encode() * 2,
        RAW.encode() + b"\x00",
        RAW.encode() + b"\n" + RAW.encode(),
        RAW.encode() + b",",
        b"\xef\xbb\xbf" + RAW.encode(),
        RAW.encode("utf-16"),
        RAW.encode("utf-16-le"),
        RAW.encode("utf-32"),
        RAW.encode("latin-1"),
        RAW.encode().replace(b"fuzz-1", b"fuzz\xff1"),
        RAW.encode().replace(b"M\xc3\xbcsli", b"\xc0\xaf"),
        RAW.encode().replace(b"M\xc3\xbcsli", b"\xed\xa0\x80"),
        RAW.replace('"', "'").encode(),
        RAW.replace("}]}", "},]}").encode(),
        b"/* tea */" + RAW.encode(),
        b"\x1f\x8b\x08\x00" + RAW.encode(),
        b"[" * 100_000,
        b"[" * 100_000 + b"]" * 100_000,
        b'{"items":' * 50_000,
        b'{"a":' * 150 + b"1" + b"}" * 150,
        b"9" * LIMIT,
        b'"' + b"a" * (LIMIT - 2) + b'"',
        b"\xff" * LIMIT,
    ],
    ids=range(33),
)
def test_what_is_no_order_at_all_is_refused(shop: Server, body: bytes) -> None:
    refuse(shop, body)


@pytest.mark.parametrize("number", ["quantity", "unit_price"])
@pytest.mark.parametrize(
    "raw",
    [
        *("NaN", "Infinity", "-Infinity", "nan", "inf", "1e400", "-1e400", "1.0", "1e2", "0.5"),
        *("-1", "-0.0", "+1", "01", "0x10", "1_000", "1,000", "٣", "null", "true", '"1"', "[1]"),
        *("9" * 19, "9" * 4300, "9" * 5000, "-" + "9" * 4300, "1" + "0" * 100_000),
    ],
    ids=lambda raw: raw[:12],
)
def test_an_impossible_number_is_refused(shop: Server, number: str, raw: str) -> None:
    refuse(shop, with_field(number, raw))


@pytest.mark.parametrize("name", ["order_id", "customer_id", "sku", "currency", "placed_at"])
@pytest.mark.parametrize(
    "raw",
    [
        *('"\\u0000"', '"a\\u0000"', '"a\\n"', '"\\r\\n"', '"\\t"', '"\\u007f"', '"\\u0085"'),
        *('"\x00"', '"\x1f"', '"a\nb"', '"\\u200b"', '"\\u2028"', '"\\ufeffa"', '"\\ud800"'),
        *('"\ud800"', '"\\udc00\\ud800"', '"\\x41"', '""', "7", "null", "[]", "{}", '["a"]'),
        *(json.dumps("a" * 65), json.dumps("a" * 500_000), json.dumps("😀" * 65)),
    ],
    ids=lambda raw: ascii(raw)[1:14],
)
def test_an_impossible_text_is_refused(shop: Server, name: str, raw: str) -> None:
    refuse(shop, with_field(name, raw))


@pytest.mark.parametrize(
    "twice",
    [
        '"order_id":"fuzz-1"',
        '"order_id":null',
        '"customer_id":"c-2"',
        '"items":[]',
        '"items":[{"sku":"gold","quantity":1,"unit_price":1}]',
        '"\\u0069tems":[]',
        '"currency":NaN',
        '"currency":' + "9" * 4300,
        '"currency":' + "9" * 4301,
        '"currency":' + "-" + "9" * 4300,
        '"currency":' + "[" * 190 + "]" * 190,
        '"currency":1e999',
        '"currency":"\\ud83d\\ude00"',
        '"currency":"\\ud800"',
    ],
    ids=lambda raw: raw[:24],
)
def test_a_field_given_twice_is_refused_whatever_is_in_it(shop: Server, twice: str) -> None:
    """Even where the last one alone would be a valid order: it is not clear which is meant."""
    refuse(shop, f"{{{twice},{RAW[1:]}".encode())


@pytest.mark.parametrize("field", ['"unit_price":99999', '"sku":"gold"', '"quantity":3'])
def test_an_item_s_field_given_twice_is_refused(shop: Server, field: str) -> None:
    refuse(shop, RAW.replace('{"sku"', f'{{{field},"sku"').encode())


values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from([*GOOD, "sku"]) | st.text(), inner, max_size=6)
    ),
    max_leaves=12,
)


@settings(max_examples=examples(150), deadline=None)
@given(body=st.binary() | values.map(lambda value: json.dumps(value).encode()))
def test_made_up_bodies_are_refused(shop: Server, body: bytes) -> None:
    refuse(shop, body)


@settings(max_examples=examples(150), deadline=None)
@given(name=st.sampled_from([*GOOD, "note"]), value=values)
def test_made_up_values_are_refused(shop: Server, name: str, value: object) -> None:
    # Only an id can be made up so that it is valid.
    assume(name not in {"order_id", "customer_id"} or not re.fullmatch(ID, str(value)))
    refuse(shop, json.dumps(GOOD | {name: value}).encode())
