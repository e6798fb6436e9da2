"""Orders on request: new ones each time, at a rate, never more than there is room for."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.eventually import eventually
from tests.support.listening import listening, snapshot
from tests.support.server import problem_of

if TYPE_CHECKING:
    from tests.support.server import Server


@pytest.mark.long
def test_it_makes_new_orders_each_time(any_server: Server) -> None:
    any_server.start()
    for made in (300, 600):
        body = {"orders": 300, "rate": 20_000}
        response = any_server.client.post("/generator", json=body)
        assert response.status_code == 202, response.text
        eventually(lambda: not snapshot(any_server)["generator"]["running"])
        found = snapshot(any_server)
        assert found["created"] == made
        assert found["generator"] == body | {"made": 300, "running": False, "error": None}


def test_the_same_seed_makes_the_same_orders(server: Server) -> None:
    server.start()
    for _ in range(2):
        server.client.post("/generator", json={"orders": 50, "rate": 20_000, "seed": 7})
        eventually(lambda: not snapshot(server)["generator"]["running"])
    assert server.settle()["created"] == 50
    assert server.status("s7-00000050") in {"paid", "declined"}


def test_one_at_a_time_until_it_is_ended(server: Server) -> None:
    server.start()
    body = {"orders": 1_000_000, "rate": 500}
    assert server.client.post("/generator", json=body).json()["running"]
    problem_of(server.client.post("/generator", json=body), 409, "generating")
    eventually(lambda: snapshot(server)["created"])
    assert server.client.delete("/generator").json()["orders"] == 1_000_000
    eventually(lambda: not snapshot(server)["generator"]["running"])
    made = snapshot(server)["generator"]["made"]
    assert server.settle()["created"] == made < 1_000_000
    assert server.client.post("/generator", json={"orders": 1}).status_code == 202


@pytest.mark.long
def test_it_waits_where_the_pipeline_is_full(server: Server) -> None:
    server.orderly.environment |= {"MAX_PENDING": "200", "CHAOS": "1"}
    server.start()
    server.client.post("/chaos/pause")
    server.client.post("/generator", json={"orders": 1000, "rate": 20_000})
    with listening(server) as snapshots:
        full = next(each for each in snapshots if each["open"] >= 150)
        assert full["generator"]["running"]
    server.client.post("/chaos/resume")
    eventually(lambda: server.settle()["created"] == 1000)
    assert server.stop().code == 0
    server.orderly.assert_serial()


def test_a_service_that_stops_ends_it(server: Server) -> None:
    server.start()
    server.client.post("/generator", json={"orders": 1_000_000, "rate": 1000})
    eventually(lambda: snapshot(server)["created"])
    assert server.stop().code == 0
    assert server.orderly.left_open() == 0
    server.orderly.assert_serial()


@pytest.mark.parametrize(
    ("body", "where"),
    [
        ({}, "body.orders"),
        ({"orders": 0}, "body.orders"),
        ({"orders": 1_000_001}, "body.orders"),
        ({"orders": "5"}, "body.orders"),
        ({"orders": True}, "body.orders"),
        ({"orders": 5, "rate": 0}, "body.rate"),
        ({"orders": 5, "rate": 20_001}, "body.rate"),
        ({"orders": 5, "rate": 1.5}, "body.rate"),
        ({"orders": 5, "colour": "red"}, "body.colour"),
        ([], "body"),
    ],
)
def test_what_cannot_be_generated_is_named(
    shop: Server, nothing_accepted: None, body: object, where: str
) -> None:
    del nothing_accepted
    document = problem_of(shop.client.post("/generator", json=body), 422, "invalid-request")
    assert [error["where"] for error in document["errors"]] == [where]
    (error,) = document["errors"]
    assert error["rule"].startswith(("must ", "is required", "is not a known field"))


def test_a_request_is_short_and_json(shop: Server, nothing_accepted: None) -> None:
    del nothing_accepted
    problem_of(shop.client.post("/generator", content=b"{}"), 415, "not-json")
    json = {"content-type": "application/json"}
    problem_of(shop.client.post("/generator", content=b" " * 5000, headers=json), 413, "too-large")
    problem_of(shop.client.post("/generator", content=b"{", headers=json), 422, "invalid-request")
