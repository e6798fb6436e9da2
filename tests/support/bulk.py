"""Bodies of many orders, and the answers to them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from tests.support.ledgers import order

if TYPE_CHECKING:
    from collections.abc import Iterator

HEAD = b"POST /orders/bulk HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/x-ndjson\r\n"
CHUNKED = HEAD + b"transfer-encoding: chunked\r\n\r\n"


def line(order_id: str, customer_id: str = "c-1", amount: int = 1) -> bytes:
    return json.dumps(order(order_id, customer_id, amount)).encode()


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


def codes(found: list[dict[str, Any]]) -> list[tuple[int, int]]:
    return [(answer["line"], answer["code"]) for answer in found]


def unchunked(body: bytes) -> Iterator[bytes]:
    at = 0
    while True:
        end = body.index(b"\r\n", at)
        size = int(body[at:end], 16)
        if not size:
            return
        yield body[end + 2 : end + 2 + size]
        at = end + 2 + size + 2
