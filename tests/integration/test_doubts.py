"""Dead orders that may have been charged: nobody opens them but a person who has found out."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.orderly import Orderly, assert_one_line
from tests.support.scripted import asked, orders_file, script
from tests.support.server import Server, problem_of

if TYPE_CHECKING:
    from typing import Any

# Of one customer, so that each waits for those before it.
ORDERS = [("a.doubt", "ada"), ("b.doubt", "ada"), ("c.refuse.paid", "ada"), ("d", "ada")]


@pytest.fixture
def doubtful(orderly: Orderly) -> Orderly:
    """The command, with two dead orders in doubt and one that is dead for certain."""
    script(orderly, "Blind")
    report = orderly.json("run", orders_file(orderly.folder, ORDERS))
    assert (report["paid"], report["dead"], report["verified"]) == (1, 3, True)
    return orderly


def letters(orderly: Orderly) -> dict[str, bool]:
    return {each["order_id"]: each["in_doubt"] for each in orderly.json("dead", "list")}


def status(orderly: Orderly, order_id: str) -> str:
    found: dict[str, Any] = orderly.json("explain", order_id)
    return str(found["status"])


def test_retrying_all_passes_over_them_and_says_so(doubtful: Orderly) -> None:
    assert letters(doubtful) == {"a.doubt": True, "b.doubt": True, "c.refuse.paid": False}
    said = doubtful("dead", "retry", "--all")
    assert said.code == 0
    assert "1 dead order open again" in said.out
    assert "2 orders in doubt left out; they may have been charged" in said.out
    assert doubtful.json("run")["recovered"] == 1
    assert status(doubtful, "c.refuse.paid") == "paid"
    assert letters(doubtful) == {"a.doubt": True, "b.doubt": True}
    assert doubtful.json("verify")["ok"]


def test_one_that_is_named_is_refused_with_what_to_do(doubtful: Orderly) -> None:
    said = doubtful("dead", "retry", "a.doubt", "c.refuse.paid")
    words = ("in doubt: a.doubt", "may have been charged", "--not-charged", "nothing was changed")
    assert_one_line(said, 2, *words)
    assert_one_line(doubtful("dead", "retry", "--all", "--not-charged"), 2, "name the orders")
    assert len(letters(doubtful)) == 3


def test_one_that_was_not_charged_is_asked_for_under_a_new_key(doubtful: Orderly) -> None:
    assert doubtful("dead", "retry", "--not-charged", "a.doubt").code == 0
    report = doubtful.json("run")
    assert (report["recovered"], report["verified"]) == (1, True)
    assert status(doubtful, "a.doubt") == "paid"
    calls = asked(doubtful, "a.doubt")
    assert [(call.key.rpartition("~")[2], call.repeated) for call in calls] == [
        ("0", False),
        ("1", False),
    ]
    assert doubtful.json("verify")["ok"]


def test_one_that_was_charged_is_paid_without_a_call(doubtful: Orderly) -> None:
    said = doubtful("dead", "settle", "--charged", "ch_42", "b.doubt")
    assert (said.code, "b.doubt is paid, as ch_42" in said.out) == (0, True)
    assert doubtful.json("verify")["ok"]
    report = doubtful.json("run")
    assert (report["recovered"], report["verified"]) == (1, True)
    story = doubtful.json("explain", "b.doubt")
    assert (story["status"], len(story["transfers"])) == ("paid", 1)
    assert len(asked(doubtful, "b.doubt")) == 1
    query = "SELECT reference FROM outcomes WHERE order_id = 'b.doubt' AND status = 'paid'"
    assert doubtful.query(query) == [("ch_42",)]
    assert doubtful.count("SELECT count(*) FROM resolutions") == 0
    again = doubtful("dead", "settle", "--charged", "ch_42", "b.doubt")
    assert_one_line(again, 2, "not dead: b.doubt")
    assert doubtful.json("verify")["ok"]


def test_the_ledger_s_own_gateway_settles_what_was_found_out_too(doubtful: Orderly) -> None:
    assert doubtful("dead", "settle", "--charged", "ch_42", "b.doubt").code == 0
    report = doubtful.json("run", PAYMENT_GATEWAY="ledger")
    assert (report["recovered"], report["verified"]) == (1, True)
    assert status(doubtful, "b.doubt") == "paid"
    assert doubtful.count("SELECT count(*) FROM resolutions") == 0
    assert doubtful.json("verify")["ok"]


def test_a_reference_is_asked_for(doubtful: Orderly) -> None:
    assert doubtful("dead", "settle", "b.doubt").code == 2
    assert_one_line(doubtful("dead", "settle", "--charged", " ", "b.doubt"), 2, "reference")


def test_it_is_the_same_over_http(server: Server) -> None:
    orderly = server.orderly
    script(orderly, "Blind")
    assert orderly.json("run", orders_file(orderly.folder, ORDERS))["dead"] == 3
    server.start()
    client = server.client
    problem = problem_of(client.post("/orders/a.doubt/retry"), 409, "in-doubt")
    assert "in doubt: cut off" in problem["detail"]
    assert client.post("/dead/retry").json() == {"retried": 1, "in_doubt": 2}
    assert client.post("/orders/a.doubt/retry?not_charged=true").status_code == 202
    assert client.post("/orders/b.doubt/settle?charged=ch_42").status_code == 202
    for wrong in ("", "?charged=", "?charged=%20", "?charged=a%0Ab"):
        assert client.post(f"/orders/b.doubt/settle{wrong}").status_code == 422
    assert server.settle()["paid"] == 4
    problem_of(client.post("/orders/b.doubt/settle?charged=ch_42"), 409, "not-dead")
    assert server.stop().code == 0
    assert orderly.json("verify")["ok"]
