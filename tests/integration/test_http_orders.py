"""Placing orders over HTTP one by one: every answer there is, and what a 202 is worth."""

from __future__ import annotations

import json
import signal
import threading
import time
import uuid
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import httpx
import pytest

from tests.support.eventually import eventually
from tests.support.ledgers import order, without_id
from tests.support.server import Server, problem_of

if TYPE_CHECKING:
    from collections.abc import Callable


def at_once(senders: int, send: Callable[[int], httpx.Response]) -> list[httpx.Response]:
    """Send from many clients in the same moment."""
    ready = threading.Barrier(senders)

    def wait_and_send(number: int) -> httpx.Response:
        ready.wait(timeout=10)
        return send(number)

    with ThreadPoolExecutor(senders) as threads:
        return list(threads.map(wait_and_send, range(senders)))


def test_a_new_order_is_accepted_and_says_where_it_is(any_shop: Server) -> None:
    response = any_shop.place(order("new-1"))
    assert response.status_code == 202
    assert response.headers["content-type"] == "application/json"
    assert response.headers["location"] == "/orders/new-1"
    assert response.json() == {"order_id": "new-1", "status": "open"}
    story = any_shop.client.get(response.headers["location"]).json()
    assert (story["order_id"], story["total"]) == ("new-1", 100)


def test_a_202_is_in_the_ledger_when_its_sender_has_it(any_shop: Server) -> None:
    for number in range(50):
        assert any_shop.place(order(f"durable-{number}")).status_code == 202
        found = any_shop.query("SELECT 1 FROM identities WHERE order_id = ?", f"durable-{number}")
        assert found == [(1,)]


def test_what_was_acknowledged_survives_a_kill_in_mid_flood(any_server: Server) -> None:
    any_server.start()
    acknowledged: list[str] = []

    def flood(customer: int) -> None:
        for number in range(100_000):
            order_id = f"{customer}-{number}"
            try:
                response = any_server.place(order(order_id, f"c-{customer}"))
            except httpx.TransportError:
                return
            assert response.status_code == 202, response.text
            acknowledged.append(order_id)

    with ThreadPoolExecutor(8) as senders:
        floods = [senders.submit(flood, customer) for customer in range(8)]
        eventually(lambda: len(acknowledged) > 300, within=30)
        any_server.stop(signal.SIGKILL)
        for each in floods:
            each.result(timeout=30)
    kept = {order_id for (order_id,) in any_server.query("SELECT order_id FROM identities")}
    assert set(acknowledged) <= kept
    assert len(kept) <= len(acknowledged) + 8  # whoever waited for an answer may be among them
    any_server.orderly.json("run")
    assert set(any_server.orderly.assert_serial().status) == kept


def test_who_looks_at_the_ledger_beside_the_service_loses_it_nothing(server: Server) -> None:
    """No worker has opened the ledger yet: the service's own locks are all that guards its log."""
    (server.orderly.folder / "late.py").write_text(
        "import multiprocessing, threading\n"
        "from services.payment.gateway import LedgerGateway\n"
        "if multiprocessing.parent_process() is not None:\n"
        "    threading.Event().wait()\n"
    )
    server.orderly.environment["PAYMENT_GATEWAY"] = "late:LedgerGateway"
    server.start()
    for number in range(3):
        assert server.place(order(f"seen-{number}")).status_code == 202
        assert server.orderly.accepted() == number + 1
    server.stop(signal.SIGKILL)
    assert server.orderly.accepted() == 3


def test_a_duplicate_is_told_what_has_become_of_the_first(any_shop: Server) -> None:
    paid, declined = order("dup-paid", "rich"), order("dup-declined", "poor", 100_001)
    assert [any_shop.place(each).status_code for each in (paid, declined)] == [202, 202]
    any_shop.settle()
    for fields, status in ((paid, "paid"), (declined, "declined")):
        response = any_shop.place(fields)
        assert response.status_code == 200
        assert response.headers["location"] == f"/orders/{fields['order_id']}"
        assert response.json() == {"order_id": fields["order_id"], "status": status}


def test_the_same_content_written_otherwise_is_a_duplicate(shop: Server) -> None:
    fields = order("written")
    assert shop.place(fields).status_code == 202
    turned = dict(reversed(fields.items())) | {"placed_at": "2026-01-31T10:30:00.000+01:00"}
    assert shop.place(turned).status_code == 200
    assert shop.place(json.dumps(fields, indent=4).encode()).status_code == 200
    escaped = json.dumps(fields).replace('"tea"', '"\\u0074ea"')
    assert shop.place(escaped.encode()).status_code == 200


def test_a_known_id_with_other_content_is_a_conflict(any_shop: Server) -> None:
    assert any_shop.place(order("clash")).status_code == 202
    for other in (
        order("clash", amount=101),
        order("clash", "c-2"),
        order("clash", currency="EUR"),
    ):
        document = problem_of(any_shop.place(other), 409, "conflict")
        assert "clash" in document["detail"]
    story = any_shop.client.get("/orders/clash").json()
    assert (story["customer_id"], story["total"], story["currency"]) == ("c-1", 100, "USD")


@pytest.mark.parametrize("round_", range(4))
def test_one_order_sent_by_many_at_once_is_accepted_once(any_shop: Server, round_: int) -> None:
    fields = order(f"at-once-{round_}", amount=1)
    responses = at_once(24, lambda _: any_shop.place(fields))
    assert Counter(each.status_code for each in responses) == {202: 1, 200: 23}
    assert {each.json()["order_id"] for each in responses} == {f"at-once-{round_}"}


def test_one_id_sent_at_once_with_many_contents_goes_to_one_of_them(any_shop: Server) -> None:
    responses = at_once(24, lambda number: any_shop.place(order("contested", f"c-{number}")))
    assert Counter(each.status_code for each in responses) == {202: 1, 409: 23}
    (winner,) = [at for at, each in enumerate(responses) if each.status_code == 202]
    assert any_shop.client.get("/orders/contested").json()["customer_id"] == f"c-{winner}"


def test_an_order_without_an_id_gets_a_uuid_that_sorts_by_time(shop: Server) -> None:
    ids = []
    for _ in range(20):
        before = time.time_ns() // 1_000_000
        response = shop.place(without_id())
        after = time.time_ns() // 1_000_000
        assert response.status_code == 202
        minted = response.json()["order_id"]
        assert response.headers["location"] == f"/orders/{minted}"
        parsed = uuid.UUID(minted)
        assert (parsed.version, parsed.variant) == (7, uuid.RFC_4122)
        assert before <= parsed.int >> 80 <= after
        ids.append(minted)
    assert len(set(ids)) == 20
    assert sorted(ids, key=lambda each: uuid.UUID(each).int >> 80) == ids
    assert shop.client.get(f"/orders/{ids[7]}").json()["customer_id"] == "c-1"


def test_an_idempotency_key_names_the_order_that_has_no_id(any_shop: Server) -> None:
    assert (
        any_shop.place(without_id(), Idempotency_Key="key-1").headers["location"] == "/orders/key-1"
    )
    again = any_shop.place(without_id(), Idempotency_Key="key-1")
    assert (again.status_code, again.json()["order_id"]) == (200, "key-1")
    other = any_shop.place(without_id(amount=5), Idempotency_Key="key-1")
    problem_of(other, 409, "conflict")
    assert any_shop.place(order("key-1")).status_code == 200
    padded = b" \r\n\t" + json.dumps(without_id()).encode() + b"\n"
    assert any_shop.place(padded, Idempotency_Key="key-1").status_code == 200


def test_an_idempotency_key_does_not_rename_an_order_that_has_an_id(shop: Server) -> None:
    response = shop.place(order("named"), Idempotency_Key="key-2")
    assert (response.status_code, response.json()["order_id"]) == (202, "named")
    assert shop.client.get("/orders/key-2").status_code == 404


@pytest.mark.parametrize(
    ("key", "order_id"),
    [
        ('"key-4"', "key-4"),
        ('"8e03978e-40d5-43dd-bc93-6894a57f9324"', "8e03978e-40d5-43dd-bc93-6894a57f9324"),
        ('"key-5";a=1', "key-5"),
        ('"key-6" ; a ; b="x;\\"y"; *c=?0', "key-6"),
        (f'"{"k" * 64}"', "k" * 64),
    ],
)
def test_an_idempotency_key_may_be_quoted_as_the_draft_standard_has_it(
    shop: Server, key: str, order_id: str
) -> None:
    response = shop.place(without_id(), Idempotency_Key=key)
    assert (response.status_code, response.json()["order_id"]) == (202, order_id)
    assert shop.place(without_id(), Idempotency_Key=order_id).status_code == 200


@pytest.mark.parametrize(
    "key", ['"8e03978e-40d5"', "k" * 80, "k" * 255, '"any key: at all"', "", "a, b", "ключ", '"']
)
def test_beside_an_order_id_any_idempotency_key_will_do(shop: Server, key: str) -> None:
    body = json.dumps(order("beside-a-key")).encode()
    headers = [(b"content-type", b"application/json"), (b"idempotency-key", key.encode())]
    response = shop.client.post("/orders", content=body, headers=headers)
    assert response.status_code in {202, 200}, response.text
    assert response.json()["order_id"] == "beside-a-key"


def test_an_idempotency_key_may_come_twice_if_it_is_the_same(shop: Server) -> None:
    def place(*keys: str) -> httpx.Response:
        named = [("content-type", "application/json"), *(("idempotency-key", key) for key in keys)]
        return shop.client.post("/orders", content=json.dumps(without_id()), headers=named)

    assert place('"key-8"', '"key-8"').json()["order_id"] == "key-8"
    problem_of(place("key-8", "key-9"), 422, "invalid-request")


def test_requests_that_follow_one_another_unasked_are_answered_in_order(shop: Server) -> None:
    requests = b""
    for number in range(30):
        body = json.dumps(order(f"pipelined-{number}", amount=1)).encode()
        requests += (
            b"POST /orders HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
            b"content-length: %d\r\n%s\r\n%s"
        ) % (len(body), b"connection: close\r\n" if number == 29 else b"", body)
    received = shop.exchange(requests)
    places = [received.index(b'"pipelined-%d"' % number) for number in range(30)]
    assert places == sorted(places)
    assert received.count(b"HTTP/1.1 202 ") == 30
