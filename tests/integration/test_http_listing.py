"""Lists of orders: whole, in pages, narrowed down."""

from __future__ import annotations

from collections import Counter

import pytest

from tests.support.eventually import eventually
from tests.support.faulty import DECIDED, listed, name, pages, place
from tests.support.server import Server, problem_of


def test_a_list_has_every_order_once_the_latest_first(faulty: Server) -> None:
    found = listed(faulty, limit=500)
    ids = [each["order_id"] for each in found]
    assert len(set(ids)) == len(ids) >= DECIDED
    assert set(ids) == {row[0] for row in faulty.query("SELECT order_id FROM identities")}
    times = [each["accepted_at"] for each in found]
    assert times == sorted(times, reverse=True)
    counted = Counter(each["status"] for each in found)
    totals = faulty.client.get("/status").json()
    assert counted == {each: totals[each] for each in ("paid", "declined", "dead")}


def test_what_a_list_says_of_an_order_is_its_story_in_short(faulty: Server) -> None:
    for each in listed(faulty, customer_id="k-5"):
        story = faulty.client.get(f"/orders/{each['order_id']}").json()
        for shared in ("status", "customer_id", "total", "currency", "partition", "number"):
            assert each[shared] == story[shared]
        assert each["attempts"] == story["attempts"]
        accepted, settled = story["history"]
        assert each["accepted_at"] == accepted["at"]
        assert each["settled_at"] == settled["at"]
        assert each["reason"] == settled.get("reason")


@pytest.mark.parametrize("limit", [1, 7, 30, 50])
def test_pages_make_up_the_whole_list(faulty: Server, limit: int) -> None:
    whole = listed(faulty, limit=500)
    found = pages(faulty, limit=limit)
    assert [each for page in found for each in page] == whole
    assert {len(page) for page in found[:-1]} <= {limit}
    assert len(found[-1]) <= limit


@pytest.mark.parametrize("status", ["paid", "declined", "dead", "open"])
@pytest.mark.parametrize("customer_id", [None, "k-0", "k-5", "nobody"])
def test_a_list_can_be_narrowed(faulty: Server, status: str, customer_id: str | None) -> None:
    wanted: dict[str, str | int] = {"status": status, "limit": 4}
    if customer_id is not None:
        wanted["customer_id"] = customer_id
    expected = [
        each
        for each in listed(faulty, limit=500)
        if each["status"] == status and customer_id in {None, each["customer_id"]}
    ]
    assert listed(faulty, **wanted) == expected
    assert bool(expected) == (status != "open" and customer_id != "nobody")


def test_a_list_of_one_order_has_it_where_it_is_now(faulty: Server) -> None:
    for each in listed(faulty, limit=500)[::20]:
        assert listed(faulty, order_id=each["order_id"]) == [each]
        other = "open" if each["status"] == "paid" else "paid"
        assert listed(faulty, order_id=each["order_id"], status=other) == []
    retried = name("moved", "dies", "lives")
    assert place(faulty, retried) == "dead"
    (before,) = listed(faulty, order_id=retried)
    assert faulty.client.post(f"/orders/{retried}/retry").status_code == 202
    eventually(lambda: faulty.status(retried) == "paid")
    (after,) = listed(faulty, order_id=retried)
    assert after["number"] > before["number"]
    assert listed(faulty, order_id="nobody") == []


def test_new_orders_do_not_disturb_who_turns_the_pages(faulty: Server) -> None:
    whole = listed(faulty, limit=500)
    first = faulty.client.get("/orders", params={"limit": 40}).json()
    place(faulty, name("meanwhile", "lives"))
    rest = faulty.client.get("/orders", params={"limit": 500, "cursor": first["next"]}).json()
    assert first["orders"] + rest["orders"] == whole
    assert rest["next"] is None


@pytest.mark.parametrize(
    ("wanted", "where"),
    [
        ("status=lost", "status"),
        ("limit=0", "limit"),
        ("limit=501", "limit"),
        ("limit=ten", "limit"),
        ("limit=1e1", "limit"),
        ("customer_id=a%20b", "customer_id"),
        ("customer_id=", "customer_id"),
        ("customer_id=%25", "customer_id"),
        ("cursor=first", "cursor"),
        ("cursor=1-2", "cursor"),
        ("cursor=9999999999999999999-0-1", "cursor"),
        ("cursor=%D9%A3-0-1", "cursor"),
        ("stauts=dead", "stauts"),
    ],
)
def test_a_parameter_that_cannot_be_meant_is_named(faulty: Server, wanted: str, where: str) -> None:
    document = problem_of(faulty.client.get(f"/orders?{wanted}"), 422, "invalid-request")
    assert [error["where"] for error in document["errors"]] == [f"query.{where}"]


def test_a_parameter_is_told_of_as_a_field_of_an_order_is(faulty: Server) -> None:
    document = problem_of(faulty.client.get("/orders?limit=501"), 422, "invalid-request")
    assert document["detail"] == "query.limit: must be at most 500, not '501'"
