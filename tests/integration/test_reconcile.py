"""`orderly reconcile`: what differs between a gateway's book and the ledger, and its repair."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sqlite3
import sys
from collections import Counter
from typing import Any

import pytest

from tests.support.booked import add_charge, use_book
from tests.support.eventually import eventually
from tests.support.orderly import Orderly, assert_refused, finish
from tests.support.scripted import orders_file

PLANTED = {
    "a.dead": "charged, not paid",
    "b.declined": "charged, not paid",
    "c.missing": "paid, not charged",
    "d.more": "other amount",
    "e.twice": "charged twice",
    "f.doubt-paid": "in doubt",
    "g.doubt-declined": "in doubt",
    "h.doubt-free": "in doubt",
    "i.doubt-discarded": "discarded",
    "never-accepted": "charged, not paid",
}
SOUND = ["plain", "poor.truly-declined"]


def kinds(report: dict[str, Any]) -> dict[str, str]:
    found = {each["order_id"]: each["kind"] for each in report["differences"]}
    assert len(found) == len(report["differences"])
    return found


def plant(orderly: Orderly) -> None:
    """Pay orders so that each kind of difference is there, once."""
    use_book(orderly)
    names = [*(name for name in PLANTED if "." in name), *SOUND]
    report = orderly.json(
        "run", orders_file(orderly.folder, [(name, f"c-{name}") for name in names])
    )
    assert (report["open"], report["verified"]) == (0, True)
    key = next(
        line for line in (orderly.folder / "book.jsonl").read_text().split('"') if "~" in line
    )
    add_charge(orderly, f"{key.partition('~')[0]}~never-accepted~0")
    add_charge(orderly, "another-ledger~x~0")
    assert orderly("dead", "discard", "i.doubt-discarded").code == 0


def test_each_difference_is_found_and_nothing_else(either: Orderly) -> None:
    plant(either)
    report = either.json("reconcile", code=1)
    assert kinds(report) == PLANTED
    assert (report["ok"], report["under_way"], report["recent"]) == (False, 0, 0)
    assert not any(each["done"] for each in report["differences"])
    said = either("reconcile")
    assert said.code == 1
    lines = said.out.splitlines()
    assert lines[-1] == "9 differences"
    (line,) = (line for line in lines if "d.more" in line)
    assert line.startswith(
        "other amount: d.more: the ledger says paid 100 USD, the book paid 101 USD as ch-"
    )


def test_a_repair_has_orders_settled_as_the_book_says(either: Orderly) -> None:
    plant(either)
    report = either.json("reconcile", "--repair", code=1)
    assert {each["order_id"]: each["done"] for each in report["differences"] if each["done"]} == {
        "a.dead": "opened again, as paid",
        "f.doubt-paid": "opened again, as paid",
        "g.doubt-declined": "opened again, as declined",
        "h.doubt-free": "opened again, to be asked for",
    }
    left = {name: kind for name, kind in PLANTED.items() if name[:1] not in "afgh"}
    again = either.json("reconcile", "--repair", code=1)
    assert kinds(again) == left, "what is filed differs no longer"
    assert not any(each["done"] for each in again["differences"])
    asked = len((either.folder / "book.jsonl").read_text().splitlines())
    either.json("run")
    stories = {name: either.json("explain", name) for name in ("a.dead", "f.doubt-paid")}
    assert {story["status"] for story in stories.values()} == {"paid"}
    assert either.json("explain", "g.doubt-declined")["status"] == "declined"
    assert either.json("explain", "h.doubt-free")["status"] == "paid"
    assert len((either.folder / "book.jsonl").read_text().splitlines()) == asked + 1
    assert kinds(either.json("reconcile", code=1)) == left
    assert either.json("verify")["ok"]


def test_an_order_in_doubt_that_is_under_way_is_settled_as_the_book_says(either: Orderly) -> None:
    use_book(either, "Keyed")
    path = orders_file(either.folder, [("a.stuck", "ada"), ("b", "ada"), ("c", "bob")])
    running = either.start("run", path, "--json")
    doubts = "SELECT count(*) FROM pending WHERE doubtful_since IS NOT NULL"
    eventually(lambda: either.count(doubts) == 1, within=20, what="it is in doubt")
    assert kinds(either.json("reconcile", code=1)) == {"a.stuck": "in doubt"}
    (found,) = either.json("reconcile", "--repair", code=1)["differences"]
    assert found["done"] == "filed as paid"
    ended = finish(running)
    assert (ended.code, ended.json["paid"], ended.json["verified"]) == (0, 3, True)
    assert either.json("reconcile")["ok"]


def test_a_copy_that_was_restored_pays_nothing_twice(either: Orderly) -> None:
    """Its orders are open there, some of them taken up, and the backend has charged them."""
    use_book(either)
    away = either.folder / "away"
    away.touch()
    orders = [(f"o{number}", f"c{number % 7}") for number in range(400)]
    running = either.start("run", orders_file(either.folder, orders))
    eventually(lambda: either.accepted() == 400, within=20)
    eventually(lambda: either.count("SELECT count(*) FROM pending") > 0, within=20)
    os.killpg(running.pid, signal.SIGKILL)
    running.wait()
    ((ledger_id,),) = either.query("SELECT ledger_id FROM ledger")
    for name, _ in orders[:300]:
        add_charge(either, f"{ledger_id}~{name}~0")
    away.unlink()
    called = {
        name for (name,) in either.query("SELECT order_id FROM pending WHERE state = 'called'")
    }
    report = either.json("reconcile", "--repair", code=1)
    wanted = {name for name, _ in orders[:300]} - called
    assert kinds(report) == dict.fromkeys(wanted, "charged, not paid")
    assert {each["done"] for each in report["differences"]} == {"filed as paid"}
    either.json("run")
    # Of those that the copy has as called nobody knows, until they are compared.
    doubtful = either.json("reconcile", "--repair", code=1) if called else {"differences": []}
    assert kinds(doubtful) == dict.fromkeys(called, "in doubt")
    either.json("run")
    assert either.json("status")["paid"] == 400
    charged = Counter(
        json.loads(line)["reference"]
        for line in (either.folder / "book.jsonl").read_text().splitlines()
    )
    assert charged == {name: 1 for name, _ in orders}
    assert either.json("reconcile")["ok"]
    assert either.count("SELECT count(*) FROM resolutions") == 0


def test_nothing_differs_while_orders_flow(either: Orderly) -> None:
    use_book(either)
    either.environment["LATENCY"] = "0.02"
    running = either.start("run", "--orders", "3000", "--seed", "7", "--rate", "600", "--json")
    eventually(lambda: either.settled() > 0, within=20)
    reports = []
    while running.poll() is None:
        reports.append(either.json("reconcile"))
    assert finish(running).json["verified"]
    assert len(reports) > 3, "it was compared on the way"
    last = either.json("reconcile")
    assert (last["charges"], last["differences"]) == (3000, [])


@pytest.mark.parametrize("gateway", ["Listed", "Awaited", "Flowing", "Objects"])
def test_a_book_may_be_told_in_any_way(orderly: Orderly, gateway: str) -> None:
    use_book(orderly, gateway)
    orderly.json("run", "--orders", "1500", "--seed", "7")
    assert orderly.json("reconcile")["charges"] == 1500
    add_charge(orderly, "another-ledger~x~0")
    assert orderly.json("reconcile")["ok"]


def test_the_banks_book_is_compared_page_by_page(orderly: Orderly) -> None:
    orderly.environment["PAYMENT_GATEWAY"] = "bank"
    orderly.json("run", "--orders", "2500", "--seed", "7")
    report = orderly.json("reconcile")
    assert (report["charges"], report["differences"]) == (2500, [])
    path = orderly.folder / "var" / "orderly-bank.db"
    with contextlib.closing(sqlite3.connect(path)) as book, book:
        ((reference,),) = book.execute(
            "SELECT reference FROM charges WHERE status = 'paid' ORDER BY id DESC LIMIT 1"
        )
        book.execute("UPDATE charges SET amount = amount + 1 WHERE reference = ?", (reference,))
    assert kinds(orderly.json("reconcile", code=1)) == {reference: "other amount"}


def test_what_was_paid_just_now_need_not_be_in_the_book_yet(orderly: Orderly) -> None:
    use_book(orderly, "Slow")
    orders = [("a.missing", "ada"), ("b.doubt-free", "bob")]
    orderly.json("run", orders_file(orderly.folder, orders))
    report = orderly.json("reconcile", "--repair", code=1)
    assert (report["recent"], kinds(report)) == (1, {"b.doubt-free": "in doubt"})
    assert report["differences"][0]["done"] is None, "its charge may still come to the book"


@pytest.mark.parametrize(
    ("gateway", "code", "said"),
    [
        ("booked:Torn", 3, "cannot be read: ConnectionError: gone in the middle; see to the"),
        ("booked:Wrong", 3, "has a charge that is none: {"),
        ("booked:Bookless", 2, "has no method charges()"),
        ("booked:Keyed", 2, "are charged through booked:Blind; name that one"),
        ("ledger", 2, "PAYMENT_GATEWAY=ledger is the ledger itself"),
    ],
)
def test_a_book_that_cannot_be_read_is_no_difference(
    orderly: Orderly, gateway: str, code: int, said: str
) -> None:
    use_book(
        orderly, "Blind" if gateway.endswith("Keyed") else gateway.partition(":")[2] or "Blind"
    )
    if gateway != "ledger":
        orderly.json("run", orders_file(orderly.folder, [("a", "ada")]))
    else:
        orderly("migrate")
    assert_refused(orderly("reconcile", PAYMENT_GATEWAY=gateway), said, code=code)


LARGE = """
import os
import resource

from services.payment.gateway import PAID

COUNT = int(os.environ["COUNT"])
LEDGER = os.environ["LEDGER_ID"]


class Large:
    settles_within = 0

    def charge(self, charge):
        return PAID

    def charges(self, after=None):
        for number in range(COUNT):
            if number != 7:
                name = f"o-{number}"
                amount = 101 if number == 11 else 100
                yield {"id": number, "key": f"{LEDGER}~{name}~0", "reference": name,
                       "account": "customer/ada/USD", "amount": amount, "currency": "USD",
                       "status": "paid", "reason": None}
        with open("peak", "w") as peak:
            peak.write(str(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss))
"""


def fill(orderly: Orderly, count: int) -> None:
    """Have so many orders in the ledger, all paid."""
    assert orderly("migrate").code == 0
    with contextlib.closing(sqlite3.connect(orderly.ledger)) as connection, connection:
        connection.execute("DELETE FROM identities")
        connection.execute("DELETE FROM outcomes")
        connection.executemany(
            "INSERT INTO identities VALUES (?, zeroblob(16), ?, ?)",
            ((f"o-{number}", number % 16, number // 16 + 1) for number in range(count)),
        )
        connection.executemany(
            "INSERT INTO outcomes (partition, number, order_id, status, amount, currency, attempts,"
            " settled_at, worker, generation) VALUES (?, ?, ?, 'paid', 100, 'USD', 1, 1, 'w', 0)",
            ((number % 16, number // 16 + 1, f"o-{number}") for number in range(count)),
        )
    ((ledger_id,),) = orderly.query("SELECT ledger_id FROM ledger")
    orderly.environment |= {"COUNT": str(count), "LEDGER_ID": ledger_id}


@pytest.mark.long
@pytest.mark.anew
@pytest.mark.timeout(600)
def test_memory_is_flat_at_a_million_charges(
    orderly: Orderly, capsys: pytest.CaptureFixture[str]
) -> None:
    (orderly.folder / "large.py").write_text(LARGE)
    orderly.environment["PAYMENT_GATEWAY"] = "large:Large"
    peaks = []
    for count in (10_000, 1_000_000):
        fill(orderly, count)
        report = orderly.json("reconcile", code=1, within=400)
        assert report["charges"] == count - 1
        assert kinds(report) == {"o-7": "paid, not charged", "o-11": "other amount"}
        peaks.append(int((orderly.folder / "peak").read_text()) / 1024)
    with capsys.disabled():
        sys.stdout.write(f"\npeak in MB, of 10,000 and 1,000,000 charges: {peaks}\n")
    assert peaks[1] < peaks[0] + 10
