"""The gateway to Stripe, beside a Stripe server that others wrote, on a way that loses answers."""

from __future__ import annotations

import json
import os
import signal
from functools import partial
from typing import TYPE_CHECKING

import pytest

from tests.support.eventually import eventually
from tests.support.ledgers import order
from tests.support.lossy_http import LossyHttp
from tests.support.orderly import assert_one_line, finish, workers_of
from tests.support.scripted import orders_file
from tests.support.scripted_stripe import ScriptedStripe
from tests.support.servers.stripe_server import KEY, StripeServer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.orderly import Orderly

QUICK = """
from examples.stripe_gateway import Stripe, StripeByLookup


class Keyed(Stripe):
    settles_within = 0.2


class Quick(StripeByLookup):
    settles_within = 0.5


class Poor(Quick):
    def payer(self, order):
        return {"payment_method": "pm_card_chargeCustomerFail"}
"""


@pytest.fixture
def stripe() -> Iterator[StripeServer]:
    """A server of the test's own."""
    server = StripeServer()
    yield server
    server.close()


@pytest.fixture
def way(stripe: StripeServer) -> Iterator[LossyHttp]:
    """A bad way to it."""
    way = LossyHttp(stripe.port, lost=0.05, cut=0.02, seed=7)
    yield way
    way.close()


def use(orderly: Orderly, gateway: str, url: str) -> None:
    """Have a command charge through a server."""
    (orderly.folder / "quick.py").write_text(QUICK)
    orderly.environment |= {
        "PAYMENT_GATEWAY": gateway,
        "STRIPE_API_BASE": url,
        "STRIPE_API_KEY": KEY,
    }


def has_settled(orderly: Orderly, count: int) -> bool:
    return orderly.settled() >= count


@pytest.mark.long
@pytest.mark.timeout(600)
def test_each_order_is_paid_once_whatever_is_lost_on_the_way(
    orderly: Orderly, stripe: StripeServer, way: LossyHttp
) -> None:
    """Answers are lost and cut, and two workers are killed; the server ignores keys."""
    use(orderly, "quick:Quick", way.url)
    orderly.environment |= {"GATEWAY_TIMEOUT": "8", "GATEWAY_CONCURRENCY": "6"}
    orders = [(f"o{number}", f"c{number % 300}") for number in range(1000)]
    running = orderly.start("run", orders_file(orderly.folder, orders, amount=250), "--json")
    for count in (200, 500):
        eventually(partial(has_settled, orderly, count), within=200, what="orders are paid")
        os.kill(workers_of(running.pid)[0], signal.SIGKILL)
    eventually(partial(has_settled, orderly, 1000), within=400, what="all are paid")
    ended = finish(running)
    assert ended.code == 0, ended.err
    assert (ended.json["paid"], ended.json["open"], ended.json["verified"]) == (1000, 0, True)
    assert min(way.done["lost"], way.done["cut"]) > 10, "it was a bad way"
    charged = [(each["metadata"]["order_id"], each["amount"]) for each in stripe.payments()]
    assert sorted(charged) == sorted((name, 250) for name, _ in orders)
    assert orderly.json("verify")["ok"]


def test_what_the_card_refuses_is_declined(orderly: Orderly, stripe: StripeServer) -> None:
    use(orderly, "quick:Poor", stripe.url)
    report = orderly.json("run", orders_file(orderly.folder, [("a", "ada"), ("b", "bob")]))
    assert (report["declined"], report["verified"]) == (2, True)
    story = orderly.json("explain", "a")
    assert story["history"][-1]["reason"] == "Your card was declined."


# What an order's requests come to: the steps; status and reason, the generations of the keys used.
FATES: dict[str, tuple[str, str | None, str]] = {
    "": ("paid", None, "0"),
    ".402": ("declined", "Your card has too little on it.", "0"),
    ".400": ("dead", "no such card", "0"),
    ".404": ("dead", "No such customer", "0"),
    ".429": ("paid", None, "01"),
    ".503": ("paid", None, "01"),
    ".409.409": ("paid", None, "000"),
    ".500": ("paid", None, "00"),
    ".cut": ("paid", None, "00"),
    ".more": ("paid", None, "00"),
    ".500.400": ("paid", None, "000"),
    ".500.402": ("declined", "Your card has too little on it.", "00"),
    ".500.replayed": ("paid", None, "001"),
    ".500.other": ("paid", None, "001"),
    ".cut.replayed": ("paid", None, "00"),
    ".401": ("paid", None, "00"),
    ".nowhere": ("paid", None, "00"),
}


@pytest.fixture
def scripted() -> Iterator[ScriptedStripe]:
    """One that says what a test wants to hear."""
    server = ScriptedStripe()
    yield server
    server.close()


def test_each_answer_means_what_the_port_says(orderly: Orderly, scripted: ScriptedStripe) -> None:
    use(orderly, "quick:Keyed", scripted.url)
    names = {f"o{number}{steps}": steps for number, steps in enumerate(FATES)}
    orders = [(name, f"c-{name}") for name in names]
    report = orderly.json("run", orders_file(orderly.folder, orders))
    assert (report["open"], report["verified"]) == (0, True)
    found = {}
    for name, steps in names.items():
        story = orderly.json("explain", name)
        (end,) = (each for each in story["history"] if each["event"] == story["status"])
        found[steps] = story["status"], end["reason"], scripted.asked[name]
    assert found == FATES
    taken = sorted(each["metadata"]["order_id"] for each in scripted.payments)
    assert taken == sorted(name for name, steps in names.items() if FATES[steps][0] == "paid")
    assert {each["amount"] for each in scripted.payments} == {100}


def test_amounts_that_mean_something_else_there_are_not_asked_for(
    orderly: Orderly, scripted: ScriptedStripe
) -> None:
    use(orderly, "quick:Keyed", scripted.url)
    path = orderly.folder / "orders.jsonl"
    wanted = [order("a", "ada", 5) | {"currency": each} for each in ("ISK", "KWD")]
    path.write_text("\n".join(json.dumps(each | {"order_id": each["currency"]}) for each in wanted))
    report = orderly.json("run", path)
    assert (report["dead"], report["verified"], scripted.asked) == (2, True, {})
    (letter, _) = orderly.json("dead", "list")
    assert "Stripe takes no 5 minor units of" in letter["reason"]


def test_an_outage_of_the_server_kills_nothing(orderly: Orderly, stripe: StripeServer) -> None:
    use(orderly, "quick:Quick", stripe.url)
    stripe.stop(kill=True)
    orders = [(f"o{number}", f"c{number}") for number in range(20)]
    running = orderly.start("run", orders_file(orderly.folder, orders), "--json")
    eventually(lambda: orderly.accepted() == 20)
    eventually(lambda: orderly.json("status")["gateway_away"], within=20, what="it is noticed")
    stripe.start()
    ended = finish(running)
    assert ended.code == 0, ended.err
    assert (ended.json["paid"], ended.json["verified"]) == (20, True)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, "no key; set STRIPE_API_KEY_FILE to a file that has it, or STRIPE_API_KEY"),
        ({"STRIPE_API_KEY_FILE": "nowhere"}, "STRIPE_API_KEY_FILE cannot be read: "),
    ],
)
def test_a_key_that_is_not_there_is_asked_for(
    orderly: Orderly, given: dict[str, str], said: str
) -> None:
    orderly.environment |= {"PAYMENT_GATEWAY": "examples.stripe_gateway:Stripe", **given}
    assert_one_line(orderly("run", "--orders", "1", "--seed", "7"), 2, "cannot be loaded", said)
