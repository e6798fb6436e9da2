"""The registry of workers: who is there, and sums of what all have measured, which only grow."""

from __future__ import annotations

from typing import TYPE_CHECKING

from services.pipeline.worker_stats import WorkerStats
from shared import clock
from shared.ledger.workers import GONE_AFTER, WorkerEntry, present, report, reported
from shared.metrics import Meter

if TYPE_CHECKING:
    from shared.ledger.ledger import Ledger
    from tests.conftest import NewLedger


def entry(run_id: str, slot: int, *, restarts: int = 0, age: int = 0) -> WorkerEntry:
    """A worker that was seen ``age`` microseconds ago."""
    now = clock.now_us() - age
    return WorkerEntry(
        f"host:{slot}", run_id, slot, "host", 100 + slot, "idle", 0, restarts, 0, now, now
    )


def meter(retries: int) -> list[int]:
    """What a worker has measured that has seen so many retries."""
    cells = [0] * Meter.SIZE
    measured = Meter(cells)
    for _ in range(retries):
        measured.count("retries")
    return cells


def counted(ledger: Ledger) -> tuple[int, int, int]:
    """How many are there, how many were replaced, and the retries of all of them."""
    with ledger.database.read() as connection:
        found = WorkerStats.reported(reported(connection))
    return sum(found.states.values()), found.replaced, found.meter.counters["retries"]


def test_nobody_has_measured_anything_in_a_new_ledger(new_ledger: NewLedger) -> None:
    assert counted(new_ledger()) == (0, 0, 0)


def test_a_report_takes_the_place_of_the_one_before_it(new_ledger: NewLedger) -> None:
    ledger = new_ledger()
    report(ledger, "a", [entry("a", 0), entry("a", 1)], [meter(1), meter(2)])
    report(ledger, "b", [entry("b", 0)], [meter(10)])
    assert counted(ledger) == (3, 0, 13)
    report(ledger, "a", [entry("a", 0, restarts=1), entry("a", 1)], [meter(1), meter(5)])
    assert counted(ledger) == (3, 1, 16)
    with ledger.database.read() as connection:
        assert [(each.run_id, each.slot) for each in present(connection)] == [
            ("a", 0),
            ("a", 1),
            ("b", 0),
        ]


def test_what_was_measured_outlasts_who_leaves(new_ledger: NewLedger) -> None:
    ledger = new_ledger()
    report(ledger, "a", [entry("a", 0, restarts=2), entry("a", 1)], [meter(1), meter(2)])
    report(ledger, "b", [entry("b", 0)], [meter(10)])
    report(ledger, "a", [])
    report(ledger, "a", [])
    assert counted(ledger) == (1, 2, 13)
    report(ledger, "b", [])
    assert counted(ledger) == (0, 2, 13)
    report(ledger, "c", [entry("c", 0, restarts=1)], [meter(4)])
    assert counted(ledger) == (1, 3, 17)


def test_who_is_not_seen_any_more_is_not_there_but_was(new_ledger: NewLedger) -> None:
    ledger = new_ledger()
    report(ledger, "killed", [entry("killed", 0, restarts=1, age=2 * GONE_AFTER)], [meter(3)])
    assert counted(ledger) == (0, 1, 3)
    report(ledger, "long-ago", [entry("long-ago", 0, age=100 * GONE_AFTER)], [meter(7)])
    for _ in range(2):  # somebody else tidies up, and counts nobody twice
        report(ledger, "a", [entry("a", 0)], [meter(100)])
        assert counted(ledger) == (1, 1, 110)
    with ledger.database.read() as connection:
        runs = {each[0] for each in connection.exec_driver_sql("SELECT run_id FROM workers")}
    assert runs == {"killed", "a"}


def test_who_was_reported_before_the_clock_was_set_back_is_not_there_for_ever(
    new_ledger: NewLedger,
) -> None:
    ledger = new_ledger()
    report(ledger, "a", [entry("a", 0, age=-2 * GONE_AFTER)], [meter(1)])
    report(ledger, "b", [entry("b", 0, age=-GONE_AFTER // 2)], [meter(1)])
    with ledger.database.read() as connection:
        assert [each.run_id for each in present(connection)] == ["b"]
