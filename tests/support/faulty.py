"""A service with orders of every status, some of them dead, and what can be asked of it."""

from __future__ import annotations

import hashlib
from contextlib import contextmanager
from itertools import count
from typing import TYPE_CHECKING, Any

from tests.support.eventually import eventually
from tests.support.ledgers import order
from tests.support.server import Server, lines

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.orderly import Orderly

PERMANENT = 0.4
SEED = 7
FAULTS = {"GATEWAY_FAULTS": f"permanent={PERMANENT},seed={SEED}"}
DECIDED = 90
"""Orders that are there at first: of nine customers, some too dear, some dead."""


def dies(order_id: str, attempt: int) -> bool:
    """Predict whether the faulty gateway fails an attempt."""
    key = f"{SEED}/{order_id}/{attempt}".encode()
    drawn = int.from_bytes(hashlib.blake2b(key, digest_size=8).digest(), "big") / 2**64
    return drawn < PERMANENT


def name(prefix: str, *fate: str) -> str:
    """Make up an id whose attempts die and live as said."""
    return next(
        order_id
        for order_id in (f"{prefix}-{number}" for number in count())
        if all(dies(order_id, attempt) is (each == "dies") for attempt, each in enumerate(fate, 1))
    )


@contextmanager
def faulty_service(orderly: Orderly) -> Iterator[Server]:
    """Start a service with orders of every status; the gateway fails as `FAULTS` says."""
    service = Server(orderly)
    try:
        service.start()
        sent = [
            order(f"all-{number}", f"k-{number % 9}", 150_000 if number % 5 == 0 else 10)
            for number in range(DECIDED)
        ]
        for start in range(0, DECIDED, 30):  # entries of different times
            assert {each["code"] for each in service.bulk(lines(sent[start : start + 30]))} == {202}
        service.settle()
        yield service
        assert service.stop().code == 0
        assert orderly.json("verify")["ok"]
    finally:
        service.close()
        orderly.close()


def pages(server: Server, **wanted: str | int) -> list[list[dict[str, Any]]]:
    """Turn over every page of a list."""
    found = []
    cursor: str | None = ""
    while cursor is not None:
        given = wanted | ({"cursor": cursor} if cursor else {})
        response = server.client.get("/orders", params=given)
        assert response.status_code == 200, response.text
        page = response.json()
        found.append(page["orders"])
        assert page["orders"] or cursor == "", "only a list of nothing has an empty page"
        assert page["next"] != cursor
        cursor = page["next"]
    return found


def listed(server: Server, **wanted: str | int) -> list[dict[str, Any]]:
    return [each for page in pages(server, **wanted) for each in page]


def place(server: Server, order_id: str, amount: int = 10) -> str:
    """Place an order, and wait for what becomes of it."""
    assert server.place(order(order_id, "decided", amount)).status_code == 202
    return (
        eventually(lambda: None if (status := server.status(order_id)) == "open" else status) or ""
    )
