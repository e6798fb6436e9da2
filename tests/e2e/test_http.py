"""Orders over HTTP, through the published port: the answers, and what becomes of the orders."""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING

from tests.support.ledgers import order
from tests.support.server import BEARER, TOKEN, lines, problem_of

if TYPE_CHECKING:
    import httpx

    from tests.e2e.conftest import NewStack
    from tests.support.stack import Stack


def test_an_order_is_accepted_paid_and_known_again(stack: Stack) -> None:
    shop = stack.shop
    accepted = shop.place(order("http-1", "http", 700))
    assert (accepted.status_code, accepted.headers["location"]) == (202, "/orders/http-1")
    shop.settle()
    story = shop.client.get("/orders/http-1").json()
    assert (story["status"], story["total"], story["attempts"]) == ("paid", 700, 1)
    again = shop.place(order("http-1", "http", 700))
    assert (again.status_code, again.json()["status"]) == (200, "paid")
    problem_of(shop.place(order("http-1", "http", 701)), 409, "conflict")
    problem_of(shop.place(order("http-2", "http") | {"currency": "XXX"}), 422, "invalid-order")
    problem_of(shop.place(b"{" * (1024 * 1024 + 1)), 413, "too-large")
    problem_of(shop.client.post("/orders", content=b"order"), 415, "not-json")
    assert shop.client.get("/orders/http-2").status_code == 404


def test_what_is_dearer_than_the_balance_is_declined(stack: Stack) -> None:
    assert stack.shop.place(order("http-dear", "http-poor", 100_001)).status_code == 202
    stack.shop.settle()
    assert stack.shop.status("http-dear") == "declined"


def test_many_orders_in_one_body_are_answered_line_by_line(stack: Stack) -> None:
    placed = [order(f"bulk-{number}", f"bulk-{number % 50}", 3_000) for number in range(3_000)]
    found = stack.shop.bulk(lines([*placed, placed[0]]) + b"no order\n")
    assert Counter(answer["code"] for answer in found) == {202: 3_000, 200: 1, 422: 1}
    stack.shop.settle()
    # A customer has 1,000.00 and orders sixty times for 30.00.
    listed = stack.shop.client.get("/orders", params={"customer_id": "bulk-7", "limit": 100})
    assert Counter(each["status"] for each in listed.json()["orders"]) == {
        "paid": 33,
        "declined": 27,
    }


def test_status_and_verify_say_what_the_commands_say(stack: Stack) -> None:
    stack.shop.settle()
    for command in ("status", "verify"):
        answer: httpx.Response = stack.shop.client.get(f"/{command}")
        assert answer.status_code == 200
        said = stack.orderly.json(command)
        for name in ("created", "paid", "declined", "dead", "open", "paid_amount"):
            assert answer.json()[name] == said[name]
    assert stack.shop.client.get("/verify").json()["ok"] is True
    assert stack.shop.client.get("/status").json()["mode"] == stack.mode


def test_it_is_alive_ready_measured_and_described(stack: Stack) -> None:
    client = stack.shop.client
    assert [client.get(path).status_code for path in ("/healthz", "/readyz")] == [200, 200]
    assert "orderly_" in client.get("/metrics").text
    assert client.get("/docs").status_code == 200
    assert "/orders/bulk" in client.get("/openapi.json").json()["paths"]


def test_a_foreign_page_is_refused(stack: Stack) -> None:
    refused = stack.shop.place(order("foreign"), origin="https://evil.example")
    problem_of(refused, 403, "foreign-origin")
    problem_of(stack.shop.place(order("foreign"), host="evil.example"), 403, "foreign-host")
    assert stack.shop.client.get("/orders/foreign").status_code == 404


def test_settings_of_the_host_reach_the_containers(new_stack: NewStack) -> None:
    faults = {"GATEWAY_FAULTS": "transient=0.05,permanent=0.02,seed=7"}
    with new_stack("local", API_TOKEN=TOKEN, PAYMENT_WORKERS="3", **faults) as stack:
        shop = stack.shop
        problem_of(shop.place(order("token-1")), 401, "unauthorized")
        assert shop.place(order("token-1"), **BEARER).status_code == 202
        assert TOKEN not in json.dumps(stack.inspect("local"))
        shop.settle()
        assert len(stack.orderly.json("status")["workers"]) == 3
        final_state = stack.orderly.assert_serial(transient=0.05, permanent=0.02, seed=7)
        assert final_state.count("dead") > 20
        assert stack.orderly("dead", "retry", "--all").code == 0
        shop.settle()
        assert stack.orderly.json("verify")["ok"]

        assert stack.make("up", API_TOKEN="").code == 0
        assert shop.place(order("token-2")).status_code == 202
