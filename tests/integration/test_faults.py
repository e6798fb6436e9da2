"""A gateway that fails: every outcome is the one that the serial replay predicts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.eventually import eventually
from tests.support.orderly import kill, workers_of
from tests.support.replay import dies, read_journal, replay

if TYPE_CHECKING:
    from tests.support.orderly import Orderly

FAULTS = {"transient": 0.3, "permanent": 0.01, "seed": 7}
SETTING = ",".join(f"{name}={value}" for name, value in FAULTS.items())


@pytest.mark.parametrize("workers", ["3", pytest.param("1", marks=pytest.mark.long)])
def test_outcomes_under_faults_equal_the_replay(orderly: Orderly, workers: str) -> None:
    orderly.environment["GATEWAY_FAULTS"] = SETTING
    report = orderly.json("run", "--orders", "1200", "--seed", "3", "--workers", workers)
    final_state = orderly.assert_serial(**FAULTS)
    assert report["dead"] == final_state.count("dead") > 0
    assert report["open"] == 0

    letters = orderly.json("dead", "list")
    assert {letter["order_id"] for letter in letters} == {
        order_id for order_id, status in final_state.status.items() if status == "dead"
    }
    for letter in letters:
        if "issuer" in letter["reason"]:
            continue
        assert (letter["reason"], letter["attempts"]) == ("gateway timed out (injected)", 5)


@pytest.mark.long
def test_outcomes_under_faults_and_kills_equal_the_replay(orderly: Orderly) -> None:
    orderly.environment |= {"GATEWAY_FAULTS": SETTING, "REDRIVE_AFTER": "0.5"}
    running = orderly.start("run", "--orders", "2000", "--seed", "4", "--json")
    struck: set[int] = set()
    for _ in range(4):
        victim = min(eventually(lambda: set(workers_of(running.pid)) - struck))
        kill(victim)
        struck.add(victim)
    out, err = running.communicate(timeout=60)
    assert running.returncode == 0, out + err
    orderly.assert_serial(**FAULTS)


@pytest.mark.long
def test_dead_orders_retried_without_faults_are_settled_once_each(orderly: Orderly) -> None:
    faults = {"transient": 0.0, "permanent": 0.05, "seed": 1}
    setting = "permanent=0.05,seed=1"
    dead = orderly.json("run", "--orders", "2000", "--seed", "5", GATEWAY_FAULTS=setting)["dead"]
    assert dead > 50
    before = orderly.assert_serial(**faults)

    # Two at once: each order counts for one of them only.
    retries = [orderly.start("dead", "retry", "--all") for _ in range(2)]
    answers = [each.communicate(timeout=30)[0] for each in retries]
    assert sum(int(answer.split(" ", 1)[0].replace(",", "")) for answer in answers) == dead
    assert orderly.totals()["open"] == dead
    assert orderly.json("verify")["ok"]

    report = orderly.json("run")
    assert report["recovered"] == dead
    after = orderly.assert_serial()
    assert after.count("dead") == 0
    for order_id, status in before.status.items():
        assert status == "dead" or after.status[order_id] == status

    risen = next(order_id for order_id, status in before.status.items() if status == "dead")
    story = orderly.json("explain", risen)
    assert [event["event"] for event in story["history"]] == [
        "accepted",
        "dead",
        "retried",
        "accepted",
        story["status"],
    ]


@pytest.mark.long
def test_a_discarded_dead_order_stays_dead_and_counted(orderly: Orderly) -> None:
    orderly.json("run", "--orders", "500", "--seed", "6", GATEWAY_FAULTS="permanent=0.05")
    first, *others = orderly.json("dead", "list")
    said = [orderly("dead", "discard", first["order_id"]).out for _ in range(2)]
    assert said == [
        "1 dead order marked as discarded\n",
        "0 dead orders marked as discarded\n1 order marked already\n",
    ]
    assert orderly.totals()["dead"] == len(others) + 1
    letters = {letter["order_id"]: letter for letter in orderly.json("dead", "list")}
    assert letters[first["order_id"]]["discarded_at"] is not None
    assert orderly.json("verify")["ok"]


@pytest.mark.long
def test_retrying_all_charges_nothing_that_was_discarded(orderly: Orderly) -> None:
    orderly.json("run", "--orders", "300", "--seed", "6", GATEWAY_FAULTS="permanent=0.05,seed=2")
    letters = [letter["order_id"] for letter in orderly.json("dead", "list")]
    count = len(letters)
    assert orderly("dead", "discard", "--all").out == f"{count} dead orders marked as discarded\n"
    assert orderly("dead", "discard", "--all").out == (
        f"0 dead orders marked as discarded\n{count} orders marked already\n"
    )
    left_out = "left out; name one to retry it\n"
    opened = "open again, for a running pipeline or the next run\n"
    result = orderly("dead", "retry", "--all")
    assert (result.code, result.out) == (
        0,
        f"0 dead orders {opened}{count} discarded orders {left_out}",
    )
    report = orderly.json("run")
    assert (report["recovered"], orderly.totals()["dead"]) == (0, count)

    # Whoever names a discarded order has changed their mind about it.
    assert orderly("dead", "retry", letters[0], letters[0]).out == f"1 dead order {opened}"
    refused = orderly("dead", "retry", letters[0], letters[1])
    assert (refused.code, refused.out) == (2, "")
    assert f"not dead: {letters[0]}; nothing was changed" in refused.err
    assert orderly.json("run")["recovered"] == 1
    assert orderly.totals()["dead"] == count - 1
    assert orderly.json("verify")["ok"]


def test_the_replay_itself_kills_only_those_that_every_attempt_fails() -> None:
    journal = read_journal(
        '{"order_id":"a","customer_id":"c","currency":"USD",'
        '"items":[{"quantity":2,"unit_price":50000}]}\n'
        '{"order_id":"b","customer_id":"c","currency":"USD",'
        '"items":[{"quantity":1,"unit_price":1}]}'
    )
    assert replay(journal).status == {"a": "paid", "b": "declined"}
    assert replay(journal, permanent=1.0).status == {"a": "dead", "b": "dead"}
    assert replay(journal, transient=1.0).status == {"a": "dead", "b": "dead"}
    shares = [dies(str(number), 0.5, 0.0, 0) for number in range(4000)]
    assert 60 < sum(shares) < 200  # half to the fifth of 4,000 is 125
