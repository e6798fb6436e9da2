"""The commands in redis mode and on PostgreSQL: what is the same, what is refused, what is kept."""

from __future__ import annotations

import json
from contextlib import ExitStack, closing
from typing import TYPE_CHECKING

import pytest

from tests.integration.test_commands import assert_shape
from tests.integration.test_faults import FAULTS, SETTING
from tests.support.eventually import eventually
from tests.support.orderly import Orderly, assert_one_line, assert_refused, finish, told_by
from tests.support.scaled import write_orders

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.scaled import Scaled

PRODUCED = {
    "mode": str,
    "run_id": str,
    "received": int,
    "created": int,
    "duplicates": int,
    "rejected": int,
    "seconds": float,
    "orders_per_second": float,
}


# What is the same


@pytest.mark.long
def test_faults_are_the_replays_and_the_dead_are_paid_by_who_is_there(scaled: Scaled) -> None:
    scaled.environment["GATEWAY_FAULTS"] = SETTING
    report = scaled.json("run", "--orders", "300", "--seed", "3", "--workers", "2")
    final_state = scaled.assert_serial(**FAULTS)
    assert report["dead"] == final_state.count("dead") > 0

    del scaled.environment["GATEWAY_FAULTS"]
    paying = scaled.pay(1)
    said = scaled("dead", "retry", "--all").out
    assert said.startswith(f"{report['dead']} dead order")
    eventually(lambda: scaled.left_open() == 0, within=60, what="the dead are settled")
    scaled.stop(paying)
    assert scaled.assert_serial().count("dead") == 0


@pytest.mark.long
def test_local_mode_may_keep_its_ledger_in_postgresql(scaled: Scaled) -> None:
    del scaled.environment["REDIS_URL"]
    scaled.environment["QUEUE_MODE"] = "local"
    report = scaled.json("run", "--orders", "300", "--seed", "3")
    assert (report["mode"], report["verified"]) == ("local", True)
    assert scaled.assert_serial().totals()["created"] == report["created"] == 300


# What is refused


def test_a_command_of_the_other_mode_is_refused_with_a_hint(tmp_path: Path) -> None:
    cases: list[tuple[str, tuple[str, ...], str]] = [
        ("local", ("produce", "--orders", "5"), "in local mode use orderly run or orderly serve"),
        ("local", ("pay",), "in local mode use orderly run or orderly serve"),
        ("local", ("run", "--workers", "0"), "PAYMENT_WORKERS=0 must be 1 to 64 in local mode"),
        ("local", ("serve", "--workers", "0"), "PAYMENT_WORKERS=0 must be 1 to 64 in local mode"),
        ("redis", ("produce",), "name a FILE, or --orders N"),
        ("redis", ("pay", "--workers", "0"), "at least one worker: --workers 1"),
    ]
    with ExitStack() as commands:
        started = []
        for mode, command, _ in cases:
            other = commands.enter_context(closing(Orderly(tmp_path, {"QUEUE_MODE": mode})))
            started.append(other.start(*command))
        for process, (_, _, words) in zip(started, cases, strict=True):
            assert_refused(finish(process), words)
    assert not list(tmp_path.iterdir())


@pytest.mark.long
def test_a_ledger_that_others_may_share_is_set_aside_only_if_one_says_so(scaled: Scaled) -> None:
    scaled.produce("--orders", "20", "--seed", "1")
    assert_refused(scaled("run", "--fresh"), "others may share", "--yes")
    others = scaled("produce", "--orders", "5", "--seed", "1", PARTITIONS="8")
    assert_one_line(others, 2, f"PARTITIONS=8, but ledger {scaled.ledger_url} was made with 16")

    paying = scaled.pay(1)
    in_use = scaled("run", "--fresh", "--yes")
    assert_one_line(in_use, 3, f"ledger {scaled.ledger_url} is in use by another process")
    scaled.stop(paying)

    afresh = scaled("run", "--orders", "10", "--seed", "2", "--fresh", "--yes", "--workers", "1")
    assert afresh.code == 0, afresh
    (told,) = [line for line in afresh.out.splitlines() if "that was there" in line]
    assert told.startswith("the ledger that was there is now in the schema aside_")
    assert scaled.totals()["created"] == 10
    kept = scaled.query(f"SELECT sum(created) FROM {told.split()[-1]}.heads")  # noqa: S608
    assert kept == [(20,)]


# What a producer says


def test_produce_counts_what_it_took_in_and_leaves_it_open(scaled: Scaled) -> None:
    orders = write_orders(scaled.folder / "orders.jsonl", 100)
    orders.write_text(orders.read_text() + '{"order_id": "bad"}\n')
    report = scaled.json("produce", orders)
    assert_shape(report, PRODUCED)
    assert report["mode"] == "redis"
    counts = [report[name] for name in ("received", "created", "duplicates", "rejected")]
    assert counts == [101, 100, 0, 1]

    again = scaled("produce", orders)
    assert (again.code, told_by(again.err)) == (0, []), again
    rows = dict(line.split(None, 1) for line in again.out.splitlines())
    assert (rows["received"], rows["created"], rows["duplicates"]) == ("101", "0", "100")
    assert not {"paid", "open", "verified"} & set(rows)

    totals = scaled.totals()
    assert (totals["created"], totals["open"]) == (100, 100)
    assert scaled.json("verify")["ok"]


@pytest.mark.long
def test_a_folder_for_rejects_is_made_only_for_rejects(scaled: Scaled) -> None:
    """A ledger on a server has no folder of its own, and a container's may be read-only."""
    var = scaled.folder / "var"
    bad = scaled.folder / "bad.jsonl"
    bad.write_text('{"order_id": "bad"}\n')
    scaled.produce("--orders", "5", "--seed", "1")
    assert not var.exists()

    var.touch()  # nobody can make a folder of it, not even root
    assert scaled.produce("--orders", "5", "--seed", "2")["created"] == 5
    refused = scaled("produce", "--orders", "5", "--seed", "3", bad, "--json")
    assert refused.code == 2
    (told,) = told_by(refused.err)
    assert told.startswith(f"orderly: --rejects {var}/")
    assert told.endswith("name another file")

    elsewhere = scaled.folder / "elsewhere.jsonl"
    assert scaled.produce(bad, "--rejects", elsewhere)["rejected"] == 1
    assert json.loads(elsewhere.read_text())["order_id"] == "bad"
