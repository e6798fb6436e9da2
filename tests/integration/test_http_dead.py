"""Dead orders are opened again or discarded over HTTP, once."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.support.eventually import eventually
from tests.support.faulty import listed, name, place
from tests.support.server import Server, problem_of


@pytest.mark.parametrize("decision", ["retry", "discard"])
def test_only_dead_orders_are_decided_about(faulty: Server, decision: str) -> None:
    paid = name(f"alive-{decision}", "lives")
    assert place(faulty, paid) == "paid"
    document = problem_of(faulty.client.post(f"/orders/{paid}/{decision}"), 409, "not-dead")
    assert document["detail"] == f"order {paid} is paid"
    problem_of(faulty.client.post(f"/orders/nobody/{decision}"), 404, "unknown-order")
    problem_of(faulty.client.post(f"/orders/a%20b/{decision}"), 422, "invalid-request")


def test_a_dead_order_is_opened_again_once_however_often_that_is_asked(
    faulty: Server,
) -> None:
    dead = name("again", "dies", "lives")
    assert place(faulty, dead) == "dead"
    before = faulty.client.get("/status").json()
    with ThreadPoolExecutor(8) as clerks:
        found = list(clerks.map(lambda _: faulty.client.post(f"/orders/{dead}/retry"), range(8)))
    assert {each.status_code for each in found} <= {202, 409}
    first = next(each for each in found if each.status_code == 202)
    assert first.json() == {"order_id": dead, "status": "open"}
    eventually(lambda: faulty.status(dead) == "paid")
    events = [each["event"] for each in faulty.client.get(f"/orders/{dead}").json()["history"]]
    assert (events.count("retried"), events.count("dead"), events.count("paid")) == (1, 1, 1)
    after = faulty.client.get("/status").json()
    assert (after["created"], after["dead"]) == (before["created"], before["dead"] - 1)
    problem_of(faulty.client.post(f"/orders/{dead}/retry"), 409, "not-dead")


def test_a_retried_order_may_die_again(faulty: Server) -> None:
    dead = name("twice", "dies", "dies")
    assert place(faulty, dead) == "dead"
    assert faulty.client.post(f"/orders/{dead}/retry").status_code == 202

    def attempts() -> int:
        return int(faulty.client.get(f"/orders/{dead}").json()["attempts"])

    eventually(lambda: attempts() == 2)
    eventually(lambda: faulty.status(dead) == "dead")
    (letter,) = [each for each in faulty.orderly.json("dead", "list") if each["order_id"] == dead]
    assert letter["attempts"] == 2


def test_a_discarded_order_stays_dead_and_is_marked_once(faulty: Server) -> None:
    dead = name("marked", "dies")
    assert place(faulty, dead) == "dead"
    found = [faulty.client.post(f"/orders/{dead}/discard").json() for _ in range(2)]
    assert found == [
        {"order_id": dead, "status": "dead", "discarded": True},
        {"order_id": dead, "status": "dead", "discarded": False},
    ]
    assert dead in {each["order_id"] for each in listed(faulty, status="dead")}
    (letter,) = [each for each in faulty.orderly.json("dead", "list") if each["order_id"] == dead]
    assert letter["discarded_at"]
