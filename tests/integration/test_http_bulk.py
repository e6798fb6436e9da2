"""Placing many orders in one body: an answer for each line, at any pace, whoever gives up."""

from __future__ import annotations

import json
import signal
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import count
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.bulk import CHUNKED, chunk, codes, line
from tests.support.eventually import eventually
from tests.support.ledgers import order
from tests.support.server import MIB, NDJSON, answers, lines

if TYPE_CHECKING:
    from tests.support.server import Server


def numbers_of(server: Server, prefix: str) -> list[tuple[str, int]]:
    """Orders in the order in which the ledger took them, one partition after another."""
    return server.query(
        "SELECT order_id, partition FROM identities WHERE order_id LIKE ?"
        " ORDER BY partition, number",
        f"{prefix}-%",
    )


def test_every_line_is_answered_in_its_place(any_shop: Server) -> None:
    assert any_shop.place(order("known", amount=7)).status_code == 202
    nameless = json.dumps({"colour": "red"}).encode()
    body = b"\n".join(
        [
            line("b-1"),
            line("b-1"),
            line("b-1", amount=2),
            line("known", amount=7),
            line("known", amount=8),
            line("b-2").replace(b'"USD"', b'"ZZZ"'),
            nameless,
            b"this is no JSON",
            line("b-3"),
        ]
    )
    found = any_shop.bulk(body)
    assert [(each["line"], each["order_id"], each["code"]) for each in found] == [
        (1, "b-1", 202),
        (2, "b-1", 200),
        (3, "b-1", 409),
        (4, "known", 200),
        (5, "known", 409),
        (6, "b-2", 422),
        (7, None, 422),
        (8, None, 422),
        (9, "b-3", 202),
    ]
    for each in found:
        assert set(each) == {"line", "order_id", "code"} | (
            {"error"} if each["code"] > 400 else set()
        )
    assert "accepted before with other content" in found[2]["error"]
    assert "currency" in found[5]["error"]
    assert "colour" in found[6]["error"]
    assert "must be JSON" in found[7]["error"]


def test_what_a_line_accepts_is_paid_like_any_other(any_shop: Server) -> None:
    found = any_shop.bulk(
        lines([order("paid-1", "payer", 60_000), order("paid-2", "payer", 60_000)])
    )
    assert codes(found) == [(1, 202), (2, 202)]
    any_shop.settle()
    assert (any_shop.status("paid-1"), any_shop.status("paid-2")) == ("paid", "declined")


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"", []),
        (b"\n\r\n  \n\n", []),
        (line("end-1"), [(1, 202)]),
        (line("end-2") + b"\r\n" + line("end-3") + b"\r\n", [(1, 202), (2, 202)]),
        (b"\n\n" + line("end-4") + b"\n \n\r\n" + line("end-5"), [(3, 202), (6, 202)]),
        (b"\xef\xbb\xbf" + line("end-6") + b"\n" + line("end-7"), [(1, 202), (2, 202)]),
        (line("end-8") + b"\n\xef\xbb\xbf" + line("end-9"), [(1, 202), (2, 422)]),
        (line("end-10") + line("end-11") + b"\n" + line("end-12"), [(1, 422), (2, 202)]),
        (line("end-13") + b"\n" + line("end-14")[:-1], [(1, 202), (2, 422)]),
    ],
    ids=range(9),
)
def test_lines_end_in_the_usual_ways_and_blank_ones_only_count(
    shop: Server, body: bytes, expected: list[tuple[int, int]]
) -> None:
    assert codes(shop.bulk(body)) == expected


def test_a_line_needs_an_id_of_its_own(shop: Server) -> None:
    nameless = order("")
    del nameless["order_id"]
    response = shop.client.post(
        "/orders/bulk", content=lines([nameless]), headers=NDJSON | {"idempotency-key": "key-b"}
    )
    (answer,) = answers(response.content)
    assert (answer["line"], answer["order_id"], answer["code"]) == (1, None, 422)
    assert "order_id: is required" in answer["error"]
    assert shop.client.get("/orders/key-b").status_code == 404


def test_bytes_that_are_not_utf_8_spoil_their_line_alone(shop: Server) -> None:
    spoilt = [line("utf-2").replace(b"tea", b"t\xe9a"), b"\xff\xfe\x00", line("utf-4") + b"\x80"]
    found = shop.bulk(b"\n".join([line("utf-1"), *spoilt, line("utf-5")]))
    assert codes(found) == [(1, 202), (2, 422), (3, 422), (4, 422), (5, 202)]
    assert "JSON" in found[1]["error"]


def test_an_id_that_was_refused_is_not_accepted_from_a_later_line_of_the_body(
    any_shop: Server,
) -> None:
    too_long = b'{"order_id": "again-3", "items": [' + b" " * MIB
    bad = [line("again-1").replace(b'"USD"', b'"ZZZ"'), line("again-2")[:-2], too_long]
    names = [f"again-{number}" for number in (1, 2, 3)]
    found = any_shop.bulk(b"\n".join([line("again-0"), *bad, *map(line, [*names, "again-4"])]))
    assert codes(found) == [(1, 202), *[(at, 422) for at in range(2, 8)], (8, 202)]
    assert [each["order_id"] for each in found[1:7]] == names * 2
    for answer in found[4:7]:
        assert answer["error"] == "order_id: was rejected before in this input; mend it there"
    assert codes(any_shop.bulk(b"\n".join(map(line, names)))) == [(1, 202), (2, 202), (3, 202)]


@pytest.mark.parametrize("end", [b"", b"\n", b"\n" + line("after-it")])
def test_a_line_of_more_than_a_mebibyte_is_refused_and_the_next_one_is_not(
    shop: Server, end: bytes
) -> None:
    name = f"long-{len(end)}"
    fits, too_long = line(name).ljust(MIB), line("too-long").ljust(MIB + 1)
    far_too_long = line("too-long").ljust(5 * MIB, b"x")
    found = shop.bulk(b"\n".join([too_long, fits, far_too_long]) + end)
    expected = [(1, 422), (2, 202), (3, 422)] + ([(4, 202)] if len(end) > 1 else [])
    assert codes(found) == expected
    assert "1,048,576 bytes" in found[0]["error"]
    assert shop.client.get("/orders/too-long").status_code == 404


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_pieces_may_be_cut_anywhere(shop: Server, size: int) -> None:
    body = lines(order(f"cut-{size}-{number}") for number in range(5))
    pieces = (body[start : start + size] for start in range(0, len(body), size))
    assert codes(shop.bulk(pieces)) == [(number, 202) for number in range(1, 6)]
    assert codes(shop.bulk(body)) == [(number, 200) for number in range(1, 6)]


@pytest.mark.parametrize("cut", [b"", b"half", b"whole"])
def test_who_disappears_in_mid_line_leaves_the_lines_before_it(
    any_shop: Server, cut: bytes
) -> None:
    before = any_shop.orderly.accepted()
    refused = len(any_shop.logged(path="/orders/bulk", status=400))
    prefix = f"gone-{cut.decode()}"
    sent = [line(f"{prefix}-{number}") for number in range(10)]
    # Even if all of a line has come: only its end says so.
    last = {b"": b"", b"half": sent[9][:60], b"whole": sent[9]}[cut]
    with any_shop.connected() as connection:
        connection.sendall(CHUNKED + chunk(b"\n".join(sent[:9]) + b"\n" + last))
        eventually(lambda: any_shop.orderly.accepted() == before + 9)
    eventually(lambda: len(any_shop.logged(path="/orders/bulk", status=400)) == refused + 1)
    assert [name for name, _ in numbers_of(any_shop, prefix)] == [
        f"{prefix}-{at}" for at in range(9)
    ]
    again = any_shop.bulk(b"\n".join(sent))
    assert codes(again) == [(at, 200) for at in range(1, 10)] + [(10, 202)]


def test_the_order_of_a_customer_s_orders_is_that_of_their_lines(any_shop: Server) -> None:
    sent = [(f"kept-{number}", f"k-{number % 3}") for number in range(6000)]
    body = b"\n".join(line(*each) for each in sent)
    assert {each["code"] for each in any_shop.bulk(body)} == {202}
    places: dict[int, list[str]] = {}
    for order_id, partition in numbers_of(any_shop, "kept"):
        places.setdefault(partition, []).append(order_id)
    customer = dict(sent)
    for found in places.values():
        theirs = {customer[order_id] for order_id in found}
        assert found == [order_id for order_id, whose in sent if whose in theirs]
    assert sum(map(len, places.values())) == 6000


def test_bodies_that_share_lines_accept_each_order_once(any_shop: Server) -> None:
    body = lines(order(f"shared-{number}", f"c-{number % 50}", 1) for number in range(3000))
    ready = threading.Barrier(4)

    def send(_: int) -> list[dict[str, Any]]:
        ready.wait(timeout=10)
        return any_shop.bulk(body)

    with ThreadPoolExecutor(4) as senders:
        found = list(senders.map(send, range(4)))
    for place in zip(*found, strict=True):
        assert Counter(each["code"] for each in place) == {202: 1, 200: 3}


@pytest.mark.long
def test_of_a_body_in_mid_flight_a_kill_leaves_a_beginning(any_server: Server) -> None:
    """Per customer, and here that is all: what was accepted is the first so many lines."""
    any_server.start()

    def send() -> None:
        with any_server.connected() as connection, suppress(BrokenPipeError, ConnectionResetError):
            connection.sendall(CHUNKED)
            for start in count(0, 100):
                numbers = range(start, start + 100)
                connection.sendall(
                    chunk(lines(order(f"fell-{each}", amount=1) for each in numbers))
                )

    with ThreadPoolExecutor(1) as sender:
        sent = sender.submit(send)
        eventually(lambda: any_server.orderly.accepted() > 1000, within=30)
        any_server.stop(signal.SIGKILL)
        sent.result(timeout=30)
    kept = [order_id for order_id, _ in numbers_of(any_server, "fell")]
    assert len(kept) > 1000
    assert kept == [f"fell-{number}" for number in range(len(kept))]
    any_server.orderly.json("run")
    any_server.orderly.assert_serial()
