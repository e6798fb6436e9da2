"""Workers, databases and whole processes that go while calls are out: each order is paid once."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

import pytest

from tests.support.eventually import eventually
from tests.support.orderly import Orderly, finish, kill, workers_of
from tests.support.scaled import Scaled
from tests.support.scripted import (
    asked,
    assert_in_order,
    assert_one_at_a_time,
    log,
    orders_file,
    script,
)

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.servers.postgres_server import PostgresServer
    from tests.support.servers.redis_server import Redis

CRASHED = "its worker ended during the call"
# The gateway and the steps of an order during whose calls its worker ends; status and reason, and
# the generations of the keys that were used, with "?" for a look-up.
FATES = {
    "exits, with keys": ("Keyed", ".exit", ("paid", None), "00"),
    "killed, with keys": ("Keyed", ".kill.kill.declined", ("declined", "too poor"), "000"),
    "exits, looked up": ("Seen", ".exit.paid", ("paid", None), "0?"),
    "killed, looked up": ("Seen", ".kill.free.declined", ("declined", "too poor"), "0?1"),
    "killed, blind": ("Blind", ".kill", ("dead", f"in doubt: {CRASHED}"), "0"),
    "killed, in a thread": ("Undeclared", ".kill", ("dead", f"in doubt: {CRASHED}"), "0"),
}


def generations(orderly: Orderly, order_id: str) -> str:
    return "".join(
        call.key.rpartition("~")[2] if call.kind == "charge" else "?"
        for call in asked(orderly, order_id)
    )


@pytest.mark.parametrize("case", FATES)
def test_an_order_whose_worker_ends_during_its_call(orderly: Orderly, case: str) -> None:
    gateway, steps, expected, calls = FATES[case]
    script(orderly, gateway, latency=0.01)
    # What is out beside it shares its fate, where nobody can be asked.
    orderly.environment |= {"PAYMENT_WORKERS": "1", "GATEWAY_CONCURRENCY": "1"}
    orders = [(f"bad{steps}", "ada"), ("next", "ada"), ("other", "bob")]
    report = orderly.json("run", orders_file(orderly.folder, orders))
    assert (report["open"], report["verified"]) == (0, True)
    story = orderly.json("explain", f"bad{steps}")
    (end,) = (event for event in story["history"] if event["event"] == story["status"])
    assert ((story["status"], end["reason"]), generations(orderly, f"bad{steps}")) == (
        expected,
        calls,
    )
    paid = dict(orderly.query("SELECT order_id, status FROM outcomes"))
    assert (paid["next"], paid["other"]) == ("paid", "paid")
    assert_one_at_a_time(orderly)
    assert orderly.json("verify")["ok"]


def test_an_order_that_always_ends_its_worker_is_dead_and_takes_nobody_with_it(
    orderly: Orderly,
) -> None:
    script(orderly, latency=0.01)
    orders = [("bad" + ".exit" * 8, "ada"), ("next", "ada")]
    orders += [(f"o{number}", f"c{number}") for number in range(200)]
    report = orderly.json("run", orders_file(orderly.folder, orders))
    assert (report["paid"], report["dead"], report["verified"]) == (201, 1, True)
    (letter,) = orderly.json("dead", "list")
    assert (letter["reason"], letter["in_doubt"]) == (f"in doubt: {CRASHED}", True)
    assert len(asked(orderly, letter["order_id"])) <= 6


def test_a_late_answer_for_an_order_that_is_called_alone_lets_the_others_go_on(
    orderly: Orderly,
) -> None:
    """It comes while the order is asked for again, with nothing else out."""
    script(orderly)
    orderly.environment |= {"PAYMENT_WORKERS": "1", "GATEWAY_TIMEOUT": "0.7"}
    orders = [("bad.exit.exit.exit.slow1.slow1", "ada"), ("next", "ada")]
    orders += [(f"o{number}", f"c{number}") for number in range(50)]
    report = orderly.json("run", orders_file(orderly.folder, orders))
    assert (report["paid"], report["verified"]) == (52, True)
    assert generations(orderly, orders[0][0]) == "00000"


@pytest.mark.long
def test_a_worker_whose_calls_hang_in_threads_makes_way(orderly: Orderly) -> None:
    """No thread can be ended but by its process, and who looks up has to know that it has ended."""
    script(orderly, "ThreadedSeen")
    orderly.environment |= {"GATEWAY_TIMEOUT": "0.5", "PAYMENT_WORKERS": "1"}
    orders = [("a.hang.free", "ada"), ("next", "ada"), ("b", "bob")]
    running = orderly.start("run", orders_file(orderly.folder, orders), "--json")
    ended = finish(running)
    assert (ended.json["paid"], ended.json["verified"]) == (3, True), ended.err
    assert "the worker makes way for another one" in ended.err
    assert generations(orderly, "a.hang.free") == "0?1"


@pytest.mark.long
def test_workers_are_killed_again_and_again(either: Orderly) -> None:
    script(either, latency=0.05)
    orders = [(f"o{number}.poor.poor.poor", f"c{number % 100}") for number in range(4000)]
    running = either.start("run", orders_file(either.folder, orders, amount=3000), "--json")
    for goal in range(300, 3900, 300):
        either.until_settled(goal)
        if workers := workers_of(running.pid):
            kill(workers[goal % len(workers)])
    ended = finish(running)
    assert ended.code == 0, ended.err
    report = ended.json
    assert (report["dead"], report["open"], report["verified"]) == (0, 0, True)
    assert "worker replaced" in ended.err
    either.assert_serial()
    assert_in_order(either)
    keys = {call.key for call in asked(either)}
    assert len(keys) == 4000, "nothing is asked for under two keys"


@pytest.mark.long
def test_a_frozen_worker_that_wakes_writes_nothing_of_what_others_have(
    tmp_path: Path, own_postgres: PostgresServer, redis_server: Redis
) -> None:
    """Its session ends without it, another service pays its orders, and it finds that out."""
    scaled = Scaled(tmp_path, ledger_url=own_postgres.new_database(), redis_url=redis_server.url)
    try:
        script(scaled, latency=0.3)
        scaled.environment["STALL_AFTER"] = "600"  # nobody replaces it
        frozen, other = scaled.pay(1), scaled.pay(1)
        (worker,) = workers_of(frozen.pid)
        orders = [(f"o{number}", f"c{number % 40}") for number in range(400)]
        scaled.produce(orders_file(scaled.folder, orders))
        eventually(lambda: {worker} <= {each["pid"] for each in log(scaled)}, within=20)
        os.kill(worker, signal.SIGSTOP)
        scaled.until_settled(400)
        os.kill(worker, signal.SIGCONT)
        scaled.stop(frozen, other)
        assert scaled.json("verify")["ok"]
        assert len(scaled.assert_serial().status) == 400
        by_order: dict[str, set[str]] = {}
        for call in asked(scaled):
            by_order.setdefault(call.order, set()).add(call.key)
        assert all(len(keys) == 1 for keys in by_order.values())
    finally:
        scaled.close()


@pytest.mark.long
def test_a_database_that_goes_and_comes_back_costs_hardly_a_call_and_no_attempt(
    tmp_path: Path, own_postgres: PostgresServer, redis_server: Redis
) -> None:
    """Calls go on meanwhile; whoever finds its own rows goes on with what it knows.

    A worker that is not run for seconds comes too late for its own: those are asked for again.
    """
    scaled = Scaled(tmp_path, ledger_url=own_postgres.new_database(), redis_url=redis_server.url)
    try:
        script(scaled, latency=0.2)
        paying = scaled.pay(2)
        orders = [(f"o{number}", f"c{number % 50}") for number in range(600)]
        scaled.produce(orders_file(scaled.folder, orders))
        for goal in (100, 300, 450):
            scaled.until_settled(goal)
            own_postgres.restart(kill=True)
        scaled.until_settled(600)
        scaled.stop(paying)
        assert len(scaled.assert_serial().status) == 600
        calls = asked(scaled)
        assert len(calls) < 700
        assert len({call.key for call in calls}) == 600
        assert scaled.count("SELECT count(*) FROM outcomes WHERE attempts <> 1") == 0
    finally:
        scaled.close()
