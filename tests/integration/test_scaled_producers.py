"""Redis mode, whatever happens to producers: each order is accepted once, and paid once."""

from __future__ import annotations

import json
import signal
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.support.orderly import kill
from tests.support.scaled import result, write_orders

if TYPE_CHECKING:
    from tests.support.scaled import Scaled

ORDERS = 3000
PART = 100


@pytest.mark.long
def test_a_killed_producer_starts_again_on_the_same_file(scaled: Scaled) -> None:
    paying = scaled.pay()
    file = write_orders(scaled.folder / "orders.jsonl", ORDERS)
    for _ in range(2):
        before = scaled.accepted()
        producing = scaled.start("produce", file, "--rate", "2000")
        scaled.until_accepted(before + 300)
        kill(producing.pid)
        producing.communicate()
    accepted = scaled.accepted()
    assert accepted < ORDERS, "it was killed too late"
    report = scaled.produce(file)
    assert report["received"] == ORDERS
    assert (report["duplicates"], report["created"]) == (accepted, ORDERS - accepted)
    scaled.until_settled(ORDERS)
    scaled.stop(paying)
    assert len(scaled.assert_serial().status) == ORDERS


@pytest.mark.long
def test_producers_at_once_on_two_files_and_on_the_same_one(scaled: Scaled) -> None:
    """Half of the ids of the second file are in the first one, too, under other customers.

    They are fed part by part, so that they meet in the same blocks.
    """
    paying = scaled.pay()
    one = write_orders(scaled.folder / "one.jsonl", ORDERS).read_text().splitlines(keepends=True)
    clash = write_orders(scaled.folder / "two.jsonl", ORDERS, customer="d")
    other = write_orders(scaled.folder / "other.jsonl", ORDERS, name="p", customer="d")
    pairs = zip(
        *(path.read_text().splitlines(keepends=True) for path in (clash, other)), strict=True
    )
    two = [pair[number % 2] for number, pair in enumerate(pairs)]
    producing = [
        (scaled.start("produce", "-", "--json", stdin=subprocess.PIPE), file)
        for file in (one, two, one)
    ]
    for start in range(0, ORDERS, PART):
        for process, file in producing:
            assert process.stdin is not None
            process.stdin.write("".join(file[start : start + PART]))
            process.stdin.flush()
        scaled.until_accepted((start + PART) * 3 // 2)
    reports = [result(process) for process, _ in producing]
    assert all(report["received"] == ORDERS for report in reports)
    for report in reports:
        assert report["created"] + report["duplicates"] + report["rejected"] == ORDERS
    assert sum(report["created"] for report in reports) == ORDERS * 3 // 2
    scaled.until_settled(ORDERS * 3 // 2)
    scaled.stop(paying)
    assert len(scaled.assert_serial().status) == ORDERS * 3 // 2


@pytest.mark.long
def test_a_run_without_workers_waits_until_somebody_pays(scaled: Scaled) -> None:
    file = write_orders(scaled.folder / "orders.jsonl", ORDERS)
    running = scaled.start("run", file, "--workers", "0", "--json")
    assert running.stderr is not None
    said = ""
    while "no payment worker is there yet" not in said:
        said += running.stderr.readline()
    assert scaled.settled() == 0
    paying = scaled.pay()
    report = result(running)
    assert report["created"] == ORDERS == report["paid"] + report["declined"]
    assert report["open"] == 0
    assert report["verified"] is True
    scaled.stop(paying)
    scaled.assert_serial()


@pytest.mark.long
def test_a_run_that_nobody_pays_is_ended_by_a_second_signal_and_loses_nothing(
    scaled: Scaled,
) -> None:
    file = write_orders(scaled.folder / "orders.jsonl", 500)
    running = scaled.start("run", file, "--workers", "0", "--json")
    scaled.until_accepted(500)
    kill(running.pid, signal.SIGTERM)
    assert running.stderr is not None
    assert any("a second signal stops at once" in line for line in running.stderr)
    kill(running.pid, signal.SIGTERM)
    report = result(running, code=1)
    assert (report["created"], report["open"]) == (500, 500)
    # A run with workers of its own settles what that one left.
    assert scaled.json("run", "--workers", "1")["recovered"] == 500
    assert len(scaled.assert_serial().status) == 500


@pytest.mark.long
def test_a_run_leaves_the_paying_to_workers_elsewhere(scaled: Scaled) -> None:
    """They are there before it begins, and it is fed in parts: each is paid as it comes."""
    paying = scaled.pay()
    lines = (
        write_orders(scaled.folder / "orders.jsonl", ORDERS).read_text().splitlines(keepends=True)
    )
    running = scaled.start("run", "-", "--workers", "0", "--json", stdin=subprocess.PIPE)
    assert running.stdin is not None
    for end in range(1000, ORDERS + 1, 1000):
        running.stdin.write("".join(lines[end - 1000 : end]))
        running.stdin.flush()
        # What does not fill a block leaves when the reader waits for more.
        scaled.until_settled(end)
    out, err = running.communicate(timeout=60)
    assert running.returncode == 0, err
    assert "no payment worker" not in err
    assert json.loads(out)["verified"] is True
    scaled.stop(paying)
    scaled.assert_serial()
