"""Redis mode, whatever happens to payment workers: the rest is settled, and equals the replay."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import pytest

from tests.support.eventually import eventually
from tests.support.gateways import slow_down
from tests.support.orderly import kill, processes_of, workers_of
from tests.support.scaled import write_orders

if TYPE_CHECKING:
    from tests.support.scaled import Scaled

KILLS = 20


@pytest.mark.long
@pytest.mark.timeout(300)  # twenty processes have to start, which takes long where others work
def test_twenty_workers_are_killed_in_mid_run(scaled: Scaled) -> None:
    """Of three, so that kills come faster than a new one is ready."""
    orders = 6000
    slow_down(scaled, 0.001)
    paying = scaled.pay(workers=3)
    scaled.produce(write_orders(scaled.folder / "orders.jsonl", orders))
    struck: list[int] = []
    for _ in range(KILLS):
        before = scaled.settled()
        assert before < orders, "all is settled before all is killed"
        scaled.until_settled(before + 1)
        fresh = eventually(lambda: set(workers_of(paying.pid)) - {*struck}, what="a worker")
        struck.append(min(fresh))  # the oldest: it is at work
        kill(struck[-1])
    scaled.until_settled(orders)
    said = scaled.stop(paying)
    assert said.count("worker replaced") == KILLS
    assert len(scaled.assert_serial().status) == orders


@pytest.mark.long
def test_a_service_that_ends_leaves_the_rest_to_another(scaled: Scaled) -> None:
    """One is told to end, another one is killed with all that it had in hand, a third stays."""
    orders = 3000
    slow_down(scaled, 0.001)
    leaving, dying, staying = (scaled.pay(workers=1) for _ in range(3))
    scaled.produce(write_orders(scaled.folder / "orders.jsonl", orders))
    workers = "SELECT count(DISTINCT worker) FROM outcomes"
    eventually(lambda: scaled.count(workers) == 3, within=30, what="all have settled some")
    kill(dying.pid)
    (worker,) = workers_of(leaving.pid)
    said = scaled.stop(leaving)
    assert "finishing what is in hand" in said
    assert scaled.left_open() > 0
    # What it did at the very end is counted, too.
    by_it = "SELECT count(*) FROM outcomes WHERE worker LIKE %s"
    assert scaled.meters("departed")["settled"] == scaled.count(by_it, f"%:{worker}")
    dying.communicate()
    for each in (leaving, dying):
        eventually(lambda: not processes_of(each.pid), what="no process is left")  # noqa: B023
    scaled.until_settled(orders)
    scaled.stop(staying)
    assert len(scaled.assert_serial().status) == orders


@pytest.mark.long
def test_a_worker_stopped_in_mid_transaction_frees_its_partition_after_seconds(
    scaled: Scaled,
) -> None:
    """It is the database that frees the way: the supervisor would wait for ten minutes."""
    orders = 2000
    scaled.environment["STALL_AFTER"] = "600"
    frozen = scaled.pay(workers=1)
    (victim,) = workers_of(frozen.pid)
    lock = scaled.connect()
    lock.execute("LOCK TABLE outcomes IN SHARE MODE")
    scaled.produce(write_orders(scaled.folder / "orders.jsonl", orders))
    ((session,),) = eventually(lambda: scaled.query(_WAITS), within=30, what="it is writing")
    kill(victim, signal.SIGSTOP)
    lock.close()
    # Its statement is done now, and its transaction stands still with the cursor's row.
    eventually(lambda: scaled.query(_STANDS_STILL, session), within=30, what="it holds the row")
    other = scaled.pay(workers=1)
    scaled.until_settled(orders)
    assert not scaled.query("SELECT 1 FROM pg_stat_activity WHERE pid = %s", session)
    kill(victim, signal.SIGCONT)
    more = write_orders(scaled.folder / "more.jsonl", 500, name="more")
    scaled.produce(more)
    scaled.until_settled(orders + 500)
    said = scaled.stop(frozen, other)
    assert "worker replaced" not in said
    assert len(scaled.assert_serial().status) == orders + 500


_WAITS = "SELECT pid FROM pg_locks WHERE relation = 'outcomes'::regclass AND NOT granted"
_STANDS_STILL = "SELECT 1 FROM pg_stat_activity WHERE pid = %s AND state = 'idle in transaction'"


@pytest.mark.long
def test_the_same_trouble_of_a_batch_is_told_once_while_it_lasts(scaled: Scaled) -> None:
    scaled.environment["PARTITIONS"] = "1"
    scaled.produce(write_orders(scaled.folder / "orders.jsonl", 1))
    scaled.query("UPDATE journal SET body = 'damaged', digest = 'damaged' RETURNING first")
    paying = scaled.pay(workers=1)
    failures = "SELECT sum(failures) FROM cursors"
    eventually(lambda: scaled.count(failures) > 5, within=30, what="more failures")
    assert scaled.stop(paying).count('"batch failed"') == 1
