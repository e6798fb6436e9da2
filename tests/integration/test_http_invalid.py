"""Orders over HTTP that cannot be accepted: each is told why, and none is."""

from __future__ import annotations

import gzip
import json
from typing import Any

import pytest

from tests.support.eventually import eventually
from tests.support.ledgers import order, without_id
from tests.support.server import MIB, Server, problem_of

PACKED = gzip.compress(b"{}", mtime=0)


@pytest.mark.parametrize(
    "key",
    [
        *("", "a b", "a/b", "k" * 65, "{", "a\x00", '""', '"a', 'a"', '"a"b"', "'a'", '"a/b"'),
        *(
            '"%s"' % ("k" * 65),
            '"a";',
            '"a"; B',
            '"a" "b"',
            r'"\a"',
            r'"a\"',
            ":YQ==:",
            "?1",
            '"a\tb"',
        ),
        '"a", "b"',
    ],
)
@pytest.mark.usefixtures("nothing_accepted")
def test_an_unusable_idempotency_key_is_invalid(shop: Server, key: str) -> None:
    if "\x00" in key:
        answer = shop.exchange(
            b"POST /orders HTTP/1.1\r\nhost: localhost\r\nidempotency-key: a\0\r\n\r\n"
        )
        assert answer.startswith(b"HTTP/1.1 400 ")
        return
    document = problem_of(shop.place(without_id(), Idempotency_Key=key), 422, "invalid-request")
    assert "idempotency-key" in document["errors"][0]["where"]


@pytest.mark.parametrize(
    ("changes", "where"),
    [
        ({"customer_id": ""}, "customer_id"),
        ({"currency": "XXX"}, "currency"),
        ({"placed_at": "2026-01-31"}, "placed_at"),
        ({"items": []}, "items"),
        ({"items": [{"sku": "tea", "quantity": 0, "unit_price": 1}]}, "items[0].quantity"),
        ({"items": [{"sku": "tea", "quantity": 1, "unit_price": True}]}, "items[0].unit_price"),
        ({"items": [{"sku": "t", "quantity": 10**6, "unit_price": 10**12}] * 10}, "total"),
        ({"colour": "red"}, "colour"),
        ({"order_id": None}, "order_id"),
        ({"order_id": "a/b"}, "order_id"),
    ],
)
@pytest.mark.usefixtures("nothing_accepted")
def test_an_invalid_order_is_told_what_is_wrong(
    shop: Server, changes: dict[str, Any], where: str
) -> None:
    document = problem_of(shop.place(order("bad") | changes), 422, "invalid-order")
    (error,) = document["errors"]
    assert error["where"] == where
    assert set(error) == {"where", "rule", "value"}
    assert error["rule"] in document["detail"]


@pytest.mark.usefixtures("nothing_accepted")
def test_every_broken_rule_is_named_but_not_the_id_that_may_be_missing(shop: Server) -> None:
    broken = without_id() | {"currency": "???", "customer_id": "a b"}
    document = problem_of(shop.place(broken, Idempotency_Key="key-3"), 422, "invalid-order")
    assert {error["where"] for error in document["errors"]} == {"currency", "customer_id"}
    empty = order("bad") | {"currency": "???", "items": [], "colour": "red"}
    document = problem_of(shop.place(empty), 422, "invalid-order")
    assert {error["where"] for error in document["errors"]} == {"currency", "items", "colour"}
    too_much = without_id() | {
        "items": [{"sku": "t", "quantity": 10**6, "unit_price": 10**12}] * 10
    }
    document = problem_of(shop.place(too_much, Idempotency_Key="key-3"), 422, "invalid-order")
    assert [error["where"] for error in document["errors"]] == ["total"]


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"content-type": ""},
        {"content-type": "text/plain"},
        {"content-type": "application/x-www-form-urlencoded"},
        {"content-type": "application/x-ndjson"},
        {"content-type": "application/json; charset=latin-1"},
        {"content-type": "application/json; charset=utf-16"},
        {"content-type": "application/json", "content-encoding": "gzip"},
    ],
)
@pytest.mark.usefixtures("nothing_accepted")
def test_what_is_not_plain_json_in_utf_8_is_refused_by_its_type(
    shop: Server, headers: dict[str, str]
) -> None:
    body = json.dumps(order("typed")).encode()
    problem_of(shop.client.post("/orders", content=body, headers=headers), 415, "not-json")


@pytest.mark.parametrize("path", ["/orders", "/orders/bulk"])
@pytest.mark.parametrize(
    ("headers", "body", "word"),
    [
        ({"content-encoding": "gzip"}, PACKED, "content-encoding: gzip"),
        ({"content-encoding": "br"}, b"x", "content-encoding: br"),
        ({"content-encoding": "identity, gzip"}, PACKED, "identity, gzip"),
        ({"transfer-encoding": "gzip, chunked"}, b"0\r\n\r\n", "transfer-encoding: gzip"),
        ({"content-type": "application/gzip"}, PACKED, "'application/gzip'"),
        ({}, PACKED, "packed with gzip"),
        ({}, b"\x28\xb5\x2f\xfdxxx", "packed with zstd"),
        ({}, "{}".encode("utf-16"), "UTF-16"),
    ],
)
@pytest.mark.usefixtures("nothing_accepted")
def test_what_is_packed_or_in_other_letters_is_named(
    shop: Server, path: str, headers: dict[str, str], body: bytes, word: str
) -> None:
    kind = "application/x-ndjson" if "bulk" in path else "application/json"
    given = {"host": "localhost", "connection": "close", "content-type": kind} | headers
    if "transfer-encoding" not in given:
        given["content-length"] = str(len(body))
    head = "".join(f"{name}: {value}\r\n" for name, value in given.items())
    received = shop.exchange(f"POST {path} HTTP/1.1\r\n{head}\r\n".encode() + body)
    assert received.startswith(b"HTTP/1.1 415 "), received
    assert word in json.loads(received.partition(b"\r\n\r\n")[2])["detail"]


@pytest.mark.parametrize(
    "kind", ["application/json; charset=utf-8", "Application/JSON;charset=UTF-8"]
)
def test_json_that_says_it_is_utf_8_is_taken(shop: Server, kind: str) -> None:
    body = json.dumps(order(f"typed-{len(kind)}")).encode()
    response = shop.client.post("/orders", content=body, headers={"content-type": kind})
    assert response.status_code == 202


def test_a_body_may_have_a_mebibyte_and_no_more(shop: Server) -> None:
    body = json.dumps(order("large")).encode().ljust(MIB + 1)
    problem_of(shop.place(body), 413, "too-large")
    in_pieces = (body[start : start + 65536] for start in range(0, len(body), 65536))
    response = shop.client.post(
        "/orders", content=in_pieces, headers={"content-type": "application/json"}
    )
    problem_of(response, 413, "too-large")
    assert shop.client.get("/orders/large").status_code == 404
    assert shop.place(body[:MIB]).status_code == 202


def test_a_body_that_is_announced_and_never_comes_is_no_order(shop: Server) -> None:
    body = json.dumps(order("cut-off")).encode()
    head = b"POST /orders HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
    before = len(shop.logged(path="/orders", status=400))
    for length in (len(body) + 1, MIB):
        with shop.connected() as connection:
            connection.sendall(head + b"content-length: %d\r\n\r\n" % length + body)
    eventually(lambda: len(shop.logged(path="/orders", status=400)) == before + 2)
    assert shop.client.get("/orders/cut-off").status_code == 404
