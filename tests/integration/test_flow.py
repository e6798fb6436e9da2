"""How orders flow: bounded, at a rate, one by one from a pipe, into a ledger that is new to all."""

from __future__ import annotations

import json
import signal
import subprocess
from functools import partial
from typing import TYPE_CHECKING

import pytest

from tests.integration.test_chaos import assert_nothing_runs, has_accepted
from tests.support.eventually import eventually
from tests.support.gateways import slow_down
from tests.support.orderly import kill

if TYPE_CHECKING:
    from tests.support.orderly import Orderly


def has_settled(orderly: Orderly, count: int) -> bool:
    return orderly.settled() == count


@pytest.mark.long
def test_a_file_waits_while_the_pipeline_is_full(orderly: Orderly) -> None:
    orderly.environment["MAX_PENDING"] = "300"
    running = orderly.start("run", "--orders", "4000", "--seed", "8", "--json")
    most = 0
    while running.poll() is None:
        most = max(most, orderly.left_open())
    out, err = running.communicate()
    assert running.returncode == 0, err
    assert json.loads(out)["created"] == 4000
    assert 0 < most <= 300
    orderly.assert_serial()


def test_a_lone_order_from_a_pipe_is_paid_while_the_pipe_stays_open(orderly: Orderly) -> None:
    lines = orderly("generate", "3", "--seed", "9").out.splitlines(keepends=True)
    running = orderly.start("run", "-", "--json", stdin=subprocess.PIPE)
    assert running.stdin is not None
    for count, line in enumerate(lines, 1):
        running.stdin.write(line)
        running.stdin.flush()
        eventually(partial(has_settled, orderly, count), within=20)
    out, err = running.communicate(timeout=20)
    assert running.returncode == 0, err
    assert json.loads(out)["paid"] == 3


def test_a_signal_ends_a_run_that_waits_for_its_pipe(orderly: Orderly) -> None:
    line, cut = orderly("generate", "2", "--seed", "9").out.splitlines(keepends=True)
    running = orderly.start("run", "-", "--json", stdin=subprocess.PIPE)
    assert running.stdin is not None
    running.stdin.write(line + cut[:50])
    running.stdin.flush()
    eventually(lambda: orderly.settled() == 1, within=20)
    kill(running.pid, signal.SIGTERM)
    running.wait(timeout=20)
    out, err = running.communicate()
    assert running.returncode == 1
    assert "standard input: stopped before its end" in err
    report = json.loads(out)
    assert (report["received"], report["created"], report["paid"]) == (1, 1, 1)
    assert_nothing_runs(running)


def test_a_rate_is_kept(orderly: Orderly) -> None:
    report = orderly.json("run", "--orders", "400", "--rate", "200", "--seed", "1")
    assert report["paid"] == 400
    assert report["seconds"] > 1.9


@pytest.mark.long
def test_runs_that_start_together_on_a_new_ledger_all_succeed(orderly: Orderly) -> None:
    runs = [
        orderly.start("run", "--orders", "300", "--seed", str(seed), "--json", "--workers", "1")
        for seed in range(1, 7)
    ]
    for each in runs:
        out, err = each.communicate(timeout=90)
        assert each.returncode == 0, err
        assert json.loads(out)["created"] == 300
    assert len(orderly.assert_serial().status) == 1800


def test_a_signal_to_a_run_that_waits_for_room_does_not_pass_for_success(orderly: Orderly) -> None:
    slow_down(orderly, 0.3)
    lines = orderly("generate", "12", "--seed", "9").out
    (orderly.folder / "twelve.jsonl").write_text(lines)
    orderly.environment |= {"MAX_PENDING": "10", "BATCH_SIZE": "1", "PAYMENT_WORKERS": "1"}
    running = orderly.start("run", "twelve.jsonl", "--json")
    eventually(partial(has_accepted, orderly, 10), within=20)
    kill(running.pid, signal.SIGINT)
    out, err = running.communicate(timeout=30)
    report = json.loads(out)
    assert report["open"] == 0
    # The last orders came in after all, or the run says that they did not.
    assert (report["received"] == 12) == (running.returncode == 0)
    assert ("stopped before its end" in err) == (running.returncode == 1)
