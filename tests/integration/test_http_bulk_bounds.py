"""Bodies of many lines that are refused, or that are more than is worth it."""

from __future__ import annotations

import gzip
import json
from typing import TYPE_CHECKING

import pytest

from tests.support.bulk import HEAD, codes, line, unchunked
from tests.support.server import MIB, NDJSON, answers, problem_of, read_all

if TYPE_CHECKING:
    from tests.support.server import Server


@pytest.mark.parametrize(
    "headers",
    [
        {"content-type": "application/json"},
        {"content-type": "text/csv"},
        {},
        NDJSON | {"content-encoding": "gzip"},
        {"content-type": "application/x-ndjson; charset=utf-16"},
    ],
)
def test_what_is_not_plain_ndjson_is_refused_by_its_type(
    shop: Server, headers: dict[str, str]
) -> None:
    body = line("typed")
    if "content-encoding" in headers:
        body = gzip.compress(body)
    response = shop.client.post("/orders/bulk", content=body, headers=headers)
    document = problem_of(response, 415, "not-json")
    assert "application/x-ndjson" in document["detail"]
    assert shop.client.get("/orders/typed").status_code == 404


def test_a_body_that_is_announced_as_too_large_is_refused_before_it_comes(shop: Server) -> None:
    announced = HEAD + b"content-length: %d\r\n\r\n" % (1024 * MIB + 1)
    received = shop.exchange(announced + line("announced") + b"\n")
    assert received.startswith(b"HTTP/1.1 413 ")
    assert b'"/problems/too-large"' in received
    assert b"connection: close" in received
    assert shop.client.get("/orders/announced").status_code == 404


@pytest.mark.long
def test_who_sends_everything_before_reading_anything_is_served(shop: Server) -> None:
    """Neither the answers nor the body fit into any buffer between the two."""
    bad = b'{"a":0,"b":0,"c":0,"d":0,"e":0}\n'
    good = [line(f"deaf-{number}", f"c-{number % 97}") + b"\n" for number in range(3000)]
    body = b"".join((each + bad) * 5 for each in good)
    with shop.connected() as connection:
        connection.sendall(HEAD + b"connection: close\r\ncontent-length: %d\r\n\r\n" % len(body))
        connection.sendall(body)
        received = read_all(connection)
    head, _, rest = received.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 ")
    found = answers(b"".join(unchunked(rest)))
    assert len(rest) > 4 * MIB
    pattern = [202, *(422, 200) * 4, 422]
    assert codes(found) == [(number, pattern[(number - 1) % 10]) for number in range(1, 30_001)]


@pytest.mark.parametrize(
    "bad", [b"x\n", b"{}\n", b'{"order_id":"%s"}\n' % (b"i" * 9000), b"[" * 9000 + b"\n"]
)
def test_a_body_of_bad_lines_is_looked_at_as_far_as_is_worth_it(shop: Server, bad: bytes) -> None:
    body = bad * (MIB // len(bad) + 2000)
    sent = body.count(b"\n")
    for ending in (b"", b"x", b"\n\n"):
        *refused, last = found = shop.bulk(body + ending)
        assert codes(refused) == [(number, 422) for number in range(1, 1001)]
        skipped = sent + ending.count(b"\n") + (ending == b"x") - 1000
        assert last == {
            "line": 1001,
            "order_id": None,
            "code": 503,
            "error": "1,000 lines were refused, more than were accepted: this line and the "
            f"{skipped - 1:,} after it were not looked at",
            "skipped": skipped,
        }
        assert len(json.dumps(found)) < MIB / 2


@pytest.mark.parametrize("blank", [b"\n", b"\r\n", b" \t\n"])
def test_blank_lines_are_passed_over_as_far_as_is_worth_it(shop: Server, blank: bytes) -> None:
    (last,) = shop.bulk(blank * 300_000)
    assert (last["line"], last["code"], last["skipped"]) == (10_001, 503, 290_000)
    assert "0 lines were refused, 10,000 were blank" in last["error"]
    good = line("after-blank") + b"\n"
    assert [answer["line"] for answer in shop.bulk(blank * 9000 + good)] == [9001]
    found = shop.bulk((good + blank * 9) * 2000)
    assert len(found) == 2000


def test_a_thousand_bad_lines_and_no_more_are_all_answered(shop: Server) -> None:
    assert codes(shop.bulk(b"x\n" * 1000)) == [(number, 422) for number in range(1, 1001)]


def test_where_more_is_accepted_than_refused_every_line_is_looked_at(shop: Server) -> None:
    good, bad = line("worth-it") + b"\n", b"x\n"
    found = shop.bulk(good * 1500 + bad * 1499 + good)
    assert [answer["code"] for answer in found] == [202, *[200] * 1499, *[422] * 1499, 200]
    *_, last = shop.bulk(good * 1500 + bad * 1500 + bad + good)
    assert (last["line"], last["skipped"]) == (3002, 1)
