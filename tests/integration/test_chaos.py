"""Whatever dies: the run ends, the ledger verifies, and equals the serial replay."""

from __future__ import annotations

import json
import random
import signal
import subprocess
from functools import partial
from typing import TYPE_CHECKING

import pytest

from tests.support.eventually import eventually
from tests.support.gateways import slow_down
from tests.support.orderly import kill, processes_of, workers_of

if TYPE_CHECKING:
    from tests.support.orderly import Orderly

SEED = "11"


def has_accepted(orderly: Orderly, goal: int) -> bool:
    return orderly.accepted() >= goal


def has_settled_more(orderly: Orderly, before: int) -> bool:
    return orderly.settled() > before


def strike(
    orderly: Orderly, running: subprocess.Popen[str], parts: list[str], chance: random.Random
) -> None:
    """Hand a run its orders in parts, and kill a worker in the midst of each; stop one instead."""
    assert running.stdin is not None
    struck: set[int] = set()
    for stroke, part in enumerate(parts):
        before = orderly.accepted()
        running.stdin.write(part)
        running.stdin.flush()
        goal = before + chance.randrange(1, part.count("\n"))
        eventually(partial(has_accepted, orderly, goal), within=30, what="intake goes on")
        fresh = eventually(lambda: set(workers_of(running.pid)) - struck, what="a worker to kill")
        victim = chance.choice(sorted(fresh))
        struck.add(victim)
        kill(victim, signal.SIGSTOP if stroke == len(parts) // 2 else signal.SIGKILL)


def assert_nothing_runs(ended: subprocess.Popen[str]) -> None:
    """Neither a worker nor a zombie is left of a process tree, two seconds after its end."""
    eventually(lambda: not processes_of(ended.pid), within=2, what="no process is left")


@pytest.mark.parametrize(
    ("workers", "strokes"),
    [
        ("2", 5),
        pytest.param("2", 20, marks=pytest.mark.long),
        pytest.param("4", 20, marks=pytest.mark.long),
    ],
)
def test_workers_may_be_killed_and_stopped_in_mid_run(
    orderly: Orderly, workers: str, strokes: int
) -> None:
    orderly.environment |= {"STALL_AFTER": "1", "REDRIVE_AFTER": "0.5"}
    orders = strokes * 1000
    lines = orderly("generate", str(orders), "--seed", SEED).out.splitlines(keepends=True)
    parts = ["".join(lines[start : start + 1000]) for start in range(0, orders, 1000)]
    running = orderly.start("run", "-", "--workers", workers, "--json", stdin=subprocess.PIPE)
    strike(orderly, running, parts, random.Random(int(workers)))
    out, err = running.communicate(timeout=60)
    assert running.returncode == 0, err
    report = json.loads(out)
    assert report["created"] == orders
    assert report["open"] == 0
    assert err.count("worker replaced") >= strokes
    assert "no sign of life" in err
    assert_nothing_runs(running)
    orderly.assert_serial()


@pytest.mark.long
def test_a_killed_parent_leaves_no_process_and_the_next_run_settles_the_rest(
    orderly: Orderly,
) -> None:
    orders = 8000
    running = orderly.start("run", "--orders", str(orders), "--seed", SEED, "--json")
    eventually(lambda: orderly.settled() > 2000, within=30)
    kill(running.pid)
    running.communicate()
    assert_nothing_runs(running)

    were_open = orderly.totals()["open"]
    assert were_open == orderly.accepted() - orderly.settled()
    report = orderly.json("run")
    assert report["recovered"] == were_open
    assert report["received"] == report["created"] == 0
    orderly.assert_serial()

    again = orderly.json("run", "--orders", str(orders), "--seed", SEED)
    assert again["created"] + again["duplicates"] == orders
    assert again["duplicates"] >= 2000
    assert len(orderly.assert_serial().status) == orders


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_drains_what_was_accepted(orderly: Orderly, number: signal.Signals) -> None:
    running = orderly.start("run", "--orders", "900000", "--seed", SEED, "--rate", "4000", "--json")
    eventually(lambda: orderly.settled() > 500, within=30)
    # As a terminal does: to the whole group.
    for pid in processes_of(running.pid) if number == signal.SIGINT else [running.pid]:
        kill(pid, number)
    out, err = running.communicate(timeout=30)
    report = json.loads(out)
    assert running.returncode == 1
    assert "stopped before its end" in err
    assert report["created"] == orderly.accepted() == report["paid"] + report["declined"]
    assert report["open"] == 0
    assert report["verified"] is True
    assert_nothing_runs(running)
    orderly.assert_serial()


def test_a_second_signal_stops_at_once_and_loses_nothing(orderly: Orderly) -> None:
    slow_down(orderly, 0.01)
    running = orderly.start("run", "--orders", "2000", "--seed", SEED, "--json")
    eventually(lambda: orderly.settled() > 0, within=30)
    eventually(lambda: orderly.accepted() == 2000, within=30)
    kill(running.pid, signal.SIGINT)
    assert running.stderr is not None
    # Others may come before it: on a busy machine the run tells how far it is.
    assert any("a second signal stops at once" in line for line in running.stderr)
    kill(running.pid, signal.SIGINT)
    out, err = running.communicate(timeout=20)
    assert running.returncode == 1
    assert "the next run settles what is open" in err
    report = json.loads(out)
    assert report["open"] > 0
    assert_nothing_runs(running)

    assert orderly.json("run")["recovered"] > 0
    assert len(orderly.assert_serial().status) == 2000


@pytest.mark.long
def test_two_runs_at_once_share_a_ledger(orderly: Orderly) -> None:
    """Two files whose ids clash under different customers, and one file read twice."""
    for name, seed in (("one", "1"), ("two", "2")):
        lines = orderly("generate", "3000", "--seed", seed).out
        # Ids without the seed: the same ones in both files, for other customers.
        (orderly.folder / f"{name}.jsonl").write_text(lines.replace(f'"s{seed}-', '"s-'))
    runs = [
        orderly.start("run", f"{name}.jsonl", "--workers", "2", "--json")
        for name in ("one", "two", "one")
    ]
    reports = []
    for each in runs:
        out, err = each.communicate(timeout=90)
        assert each.returncode == 0, err
        reports.append(json.loads(out))
    assert sum(report["created"] for report in reports) == 3000
    for report in reports:
        assert report["received"] == 3000
        assert report["open"] == 0
        assert report["created"] == report["paid"] + report["declined"] + report["dead"]
    assert len(orderly.assert_serial().status) == 3000


def test_a_batch_that_crashes_its_worker_ends_with_the_culprit_dead(orderly: Orderly) -> None:
    culprit = f"s{SEED}-00000100"
    (orderly.folder / "crashing.py").write_text(
        "import os\n"
        "from services.payment.gateway import LedgerGateway\n"
        "class Crashing(LedgerGateway):\n"
        "    def charge(self, charge):\n"
        f"        if charge.order.order_id == {culprit!r}:\n"
        "            os._exit(7)\n"
        "        return super().charge(charge)\n"
    )
    orderly.environment["PAYMENT_GATEWAY"] = "crashing:Crashing"
    report = orderly.json("run", "--orders", "3000", "--seed", SEED)
    assert (report["dead"], report["open"]) == (1, 0)
    (letter,) = orderly.json("dead", "list")
    assert letter["order_id"] == culprit
    assert letter["reason"] == "in doubt: its worker ended during the call"
    assert orderly.json("verify")["ok"]


@pytest.mark.long
def test_workers_that_never_get_ready_end_the_run_with_the_reason(orderly: Orderly) -> None:
    (orderly.folder / "shy.py").write_text(
        "import multiprocessing\n"
        "from services.payment.gateway import LedgerGateway\n"
        "if multiprocessing.parent_process() is not None:\n"
        "    raise RuntimeError('not in a worker')\n"
    )
    orderly.environment["PAYMENT_GATEWAY"] = "shy:LedgerGateway"
    result = orderly("run", "--orders", "10")
    assert result.code == 1
    assert "payment workers end before they are ready: ended with exit code 2" in result.err
    assert "not in a worker" in result.err
    assert "Traceback" not in result.err


def test_the_proof_holds_at_every_moment_of_a_busy_run(orderly: Orderly) -> None:
    running = orderly.start("run", "--orders", "900000", "--seed", SEED, "--rate", "2000", "--json")
    for _ in range(3):
        before = orderly.settled()
        eventually(partial(has_settled_more, orderly, before), within=30)
        proof = orderly.json("verify")
        assert proof["ok"], proof
    assert running.poll() is None
    kill(running.pid, signal.SIGTERM)
    out, _ = running.communicate(timeout=60)
    assert json.loads(out)["verified"] is True
