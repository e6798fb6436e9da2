"""An outside gateway: what each of its answers means, one call a customer, many at once."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support import scripted
from tests.support.eventually import eventually
from tests.support.orderly import Orderly, assert_one_line, finish
from tests.support.scripted import (
    asked,
    assert_in_order,
    assert_one_at_a_time,
    log,
    orders_file,
)

FAST = {"GATEWAY_TIMEOUT": "0.5", "STALL_AFTER": "5"}

# What an order's calls come to: the gateway, the steps; status, reason, attempts, and the
# generation of each key that was used, with "?" for a look-up.
FATES: dict[str, tuple[str, str, tuple[str, str | None, int], str]] = {
    "paid": ("Blind", "", ("paid", None, 1), "0"),
    "declined": ("Blind", ".declined", ("declined", "too poor", 1), "0"),
    "refused": ("Keyed", ".refuse", ("dead", "stolen card", 1), "0"),
    "failed twice": ("Keyed", ".fail.fail", ("paid", None, 3), "012"),
    "failed for good": ("Keyed", ".fail.fail.fail.fail.fail", ("dead", "later", 5), "01234"),
    "away": ("Blind", ".away.away", ("paid", None, 1), "000"),
    "busy": ("Blind", ".busy", ("paid", None, 1), "01"),
    "in use": ("Keyed", ".inuse.inuse", ("paid", None, 1), "000"),
    "in doubt, with keys": ("Keyed", ".doubt.broken.nothing", ("paid", None, 1), "0000"),
    "in doubt, then declined": ("Keyed", ".doubt.declined", ("declined", "too poor", 1), "00"),
    "in doubt, then refused": (
        "Keyed",
        ".doubt.refuse",
        ("dead", "in doubt: stolen card", 1),
        "00",
    ),
    "in doubt, then failing": (
        "Keyed",
        ".doubt.fail.fail.fail.fail.fail",
        ("dead", "in doubt: later", 5),
        "000000",
    ),
    "late, with keys": ("Keyed", ".hang", ("paid", None, 1), "00"),
    "in doubt, blind": ("Blind", ".doubt", ("dead", "in doubt: cut off", 1), "0"),
    "broken, blind": ("Blind", ".broken", ("dead", "in doubt: KeyError: 'card_number'", 1), "0"),
    "silent, blind": ("Blind", ".nothing", ("dead", "in doubt: the gateway answered None", 1), "0"),
    "late, blind": ("Blind", ".hang", ("dead", "in doubt: no answer within 0.5 s", 1), "0"),
    "looked up, paid": ("Seen", ".doubt.paid", ("paid", None, 1), "0?"),
    "looked up, declined": ("Seen", ".doubt.declined", ("declined", "too poor", 1), "0?"),
    "looked up, free": ("Seen", ".doubt.free", ("paid", None, 1), "0?1"),
    "looked up, under way": ("Seen", ".doubt.underway.underway.paid", ("paid", None, 1), "0???"),
    "looked up, away": ("Seen", ".doubt.away.free", ("paid", None, 1), "0??1"),
    "looked up, in doubt": ("Seen", ".doubt.broken.free", ("paid", None, 1), "0??1"),
    "spent, looked up": ("Both", ".doubt.spent.free", ("paid", None, 1), "00?1"),
    "spent, blind": (
        "Keyed",
        ".spent",
        ("dead", "in doubt: a 500, and again a 500", 1),
        "0",
    ),
    "a thread in doubt": ("Threaded", ".doubt", ("paid", None, 1), "00"),
    "a thread that leaves": ("Undeclared", ".leave", ("dead", "in doubt: SystemExit: 0", 1), "0"),
    "a thread that hangs": ("Threaded", ".hang", ("paid", None, 1), "00"),
}


def script(orderly: Orderly, gateway: str = "Keyed", *, latency: float = 0.0) -> None:
    """Charge through the scripted gateway, and give its calls up early."""
    orderly.environment |= FAST
    scripted.script(orderly, gateway, latency=latency)


def generations(orderly: Orderly, order_id: str) -> str:
    """Tell the calls for an order: the generation of a charge's key, or "?" for a look-up."""
    return "".join(
        call.key.rpartition("~")[2] if call.kind == "charge" else "?"
        for call in asked(orderly, order_id)
    )


def fate(orderly: Orderly, order_id: str) -> tuple[str, str | None, int]:
    """What became of an order: status, reason, attempts."""
    story: dict[str, Any] = orderly.json("explain", order_id)
    (end,) = (event for event in story["history"] if event["event"] == story["status"])
    return story["status"], end["reason"], story["attempts"]


@pytest.mark.parametrize("gateway", sorted({gateway for gateway, *_ in FATES.values()}))
def test_each_answer_means_what_the_port_says(orderly: Orderly, gateway: str) -> None:
    """All orders of a gateway at once, each of a customer who has another order behind it."""
    cases = {
        f"o{number}{steps}": (f"c{number}", expected, calls)
        for number, (of, steps, expected, calls) in enumerate(FATES.values())
        if of == gateway
    }
    script(orderly, gateway)
    orders = [(name, customer) for name, (customer, *_) in cases.items()]
    orders += [(f"next-{customer}", customer) for customer, *_ in cases.values()]
    report = orderly.json("run", orders_file(orderly.folder, orders))
    assert (report["open"], report["verified"]) == (0, True)
    found = {name: (fate(orderly, name), generations(orderly, name)) for name in cases}
    assert found == {name: (expected, calls) for name, (_, expected, calls) in cases.items()}
    for customer, *_ in cases.values():
        assert fate(orderly, f"next-{customer}") == ("paid", None, 1)
    assert_one_at_a_time(orderly)
    assert orderly.json("verify")["ok"]
    assert orderly.json("status")["in_doubt"] == 0


def test_many_customers_are_called_at_once_and_none_of_them_twice(either: Orderly) -> None:
    script(either, latency=0.1)
    orders = [(f"o{number}.poor", f"c{number % 50}") for number in range(400)]
    report = either.json("run", orders_file(either.folder, orders, amount=30_000))
    assert (report["paid"], report["declined"], report["verified"]) == (150, 250, True)
    assert assert_one_at_a_time(either) > 25
    assert_in_order(either)
    assert len(asked(either)) == 400
    either.assert_serial()


def test_a_key_names_ledger_order_and_generation(orderly: Orderly) -> None:
    script(orderly)
    orderly.json("run", orders_file(orderly.folder, [("a.fail", "ada")]))
    ((ledger_id,),) = orderly.query("SELECT ledger_id FROM ledger")
    first, second = asked(orderly)
    assert (first.key, second.key) == (f"{ledger_id}~a.fail~0", f"{ledger_id}~a.fail~1")
    assert (first.attempt, second.attempt) == (1, 2)
    assert orderly.query("SELECT reference FROM outcomes") == [(f"ref-{second.key}",)]


def test_an_order_of_nothing_costs_no_call(orderly: Orderly) -> None:
    script(orderly)
    orders = [("a", "ada"), ("b", "ada"), ("c", "bob")]
    report = orderly.json("run", orders_file(orderly.folder, orders, amount=0))
    assert (report["paid"], report["verified"]) == (3, True)
    assert not asked(orderly)


def test_a_debt_that_no_account_holds_is_found_out_before_the_call(orderly: Orderly) -> None:
    script(orderly)
    most = 10**12
    path = orderly.folder / "orders.jsonl"
    items = ", ".join([f'{{"sku": "ship", "quantity": 1000000, "unit_price": {most}}}'] * 9)
    path.write_text(
        "".join(
            f'{{"order_id": "o{number}", "customer_id": "ada", "currency": "USD", '
            f'"placed_at": "2026-01-31T09:30:00Z", "items": [{items}]}}\n'
            for number in range(3)
        )
    )
    report = orderly.json("run", path)
    assert (report["paid"], report["dead"], report["verified"]) == (1, 2, True)
    assert [call.order for call in asked(orderly)] == ["o0"]
    (letter, _) = orderly.json("dead", "list")
    assert letter["reason"] == "invalid: the account cannot hold so large a debt"


def test_an_order_that_waits_holds_up_its_customer_alone(either: Orderly) -> None:
    """All are of one partition: what waits for long is passed by everybody else."""
    script(either, latency=0.02)
    either.environment |= {"PARTITIONS": "1", "GATEWAY_TIMEOUT": "60"}
    orders = [("slow.slow4", "ada"), ("after", "ada")]
    orders += [(f"o{number}", f"c{number % 20}") for number in range(200)]
    report = either.json("run", orders_file(either.folder, orders))
    assert (report["paid"], report["verified"]) == (202, True)
    ends = [each["order"] for each in log(either) if each["event"] == "end"]
    assert ends[-2:] == ["slow.slow4", "after"]
    assert_one_at_a_time(either)


def test_a_gateway_that_declares_nothing_is_called_for_one_order_at_a_time(
    orderly: Orderly,
) -> None:
    script(orderly, "Undeclared", latency=0.005)
    orderly.environment["PAYMENT_WORKERS"] = "1"
    orders = [(f"o{number}", f"c{number}") for number in range(40)]
    assert orderly.json("run", orders_file(orderly.folder, orders))["verified"]
    events = [each["event"] for each in log(orderly)]
    assert events == ["begin", "end"] * 40


def test_partitions_take_turns_at_a_single_slot(orderly: Orderly) -> None:
    """A backlog in one of them keeps nobody in another from being paid."""
    script(orderly, "Undeclared", latency=0.01)
    orderly.environment |= {"PAYMENT_WORKERS": "1", "PARTITIONS": "4"}
    orders = [(f"o{number}", f"c{number % 40}") for number in range(80)]
    assert orderly.json("run", orders_file(orderly.folder, orders))["verified"]
    places = dict(orderly.query("SELECT order_id, partition FROM outcomes"))
    called = [places[call.order] for call in asked(orderly)]
    assert set(called[:8]) == {0, 1, 2, 3}
    assert max(called[:40].count(number) for number in range(4)) < 16


def test_an_outage_kills_nothing_and_counts_for_nothing(either: Orderly) -> None:
    script(either)
    away = either.folder / "away"
    away.touch()
    orders = [(f"o{number}", f"c{number % 30}") for number in range(300)]
    running = either.start("run", orders_file(either.folder, orders), "--json")
    eventually(lambda: either.accepted() == 300, within=20)
    eventually(lambda: either.json("status")["gateway_away"], within=20, what="it is noticed")
    assert either.settled() == 0
    assert not asked(either)
    away.unlink()
    eventually(lambda: either.settled() > 0, within=4, what="the first payment")
    ended = finish(running)
    assert ended.code == 0, ended.err
    assert "the gateway is away" in ended.err
    report = ended.json
    assert (report["paid"], report["dead"], report["verified"]) == (300, 0, True)
    assert {call.attempt for call in asked(either)} == {1}


def test_a_refusal_of_our_credentials_stops_all_calls_at_once(orderly: Orderly) -> None:
    script(orderly, "Keyed", latency=0.05)
    orderly.environment["PAYMENT_WORKERS"] = "1"
    orderly.environment["GATEWAY_CONCURRENCY"] = "1"
    orders = [("a.locked", "ada")] + [(f"o{number}", f"c{number}") for number in range(5)]
    report = orderly.json("run", orders_file(orderly.folder, orders))
    assert (report["paid"], report["dead"], report["verified"]) == (6, 0, True)
    begun = [(each["order"], each["at"]) for each in log(orderly) if each["event"] == "begin"]
    locked = [order_id for order_id, _ in begun].index("a.locked")
    gap = begun[locked + 1][1] - begun[locked][1]
    assert gap > 0.9, "the next one is a probe, a second later"


def test_silence_is_heard_once_and_does_not_call_again_for_everybody(orderly: Orderly) -> None:
    """Calls that are given up, and at last ended, have not shown that anybody is there."""
    script(orderly)
    orderly.environment |= {"GATEWAY_TIMEOUT": "0.5", "PAYMENT_WORKERS": "1"}
    orders = [(f"o{number}.hang.hang.hang.hang", f"c{number}") for number in range(20)]
    running = orderly.start("run", orders_file(orderly.folder, orders))
    eventually(lambda: len(asked(orderly)) >= 23, within=20, what="probes")
    begun = [each["at"] for each in log(orderly) if each["event"] == "begin"]
    assert begun[19] - begun[0] < 0.5, "all at once"
    assert begun[22] - begun[19] > 2.0, "and then a probe a second"
    running.kill()


def test_another_gateway_does_not_take_over_what_one_has_under_way(orderly: Orderly) -> None:
    script(orderly)
    (orderly.folder / "away").touch()
    path = orders_file(orderly.folder, [("a", "ada"), ("b", "bob")])
    running = orderly.start("run", path)
    eventually(lambda: orderly.count("SELECT count(*) FROM pending") == 2, within=20)
    running.kill()
    running.communicate()
    for other in ("ledger", "scripted:Seen"):
        said = orderly("run", PAYMENT_GATEWAY=other)
        assert_one_line(said, 2, f"PAYMENT_GATEWAY={other}", "scripted:Keyed has 2 orders")
    (orderly.folder / "away").unlink()
    assert orderly.json("run")["recovered"] == 2


def test_what_is_in_doubt_is_not_set_aside(orderly: Orderly) -> None:
    script(orderly, "Blind")
    path = orders_file(orderly.folder, [("a.doubt", "ada")])
    assert orderly.json("run", path)["dead"] == 1
    said = orderly("run", path, "--fresh")
    assert_one_line(said, 2, "1 orders of ledger", "are in doubt: they may be charged")
