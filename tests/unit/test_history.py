"""The last five minutes: rates of counters, and quantiles of histograms."""

from __future__ import annotations

import pytest

from services.http.live.history import SECONDS, Counters, History, quantile

BOUNDS = (1_000, 10_000, 100_000)


def counters(accepted: int = 0, settled: int = 0, *counts: int) -> Counters:
    return Counters(accepted, settled, counts or (0, 0, 0, 0))


def test_a_second_is_a_point_however_often_it_was_looked_at() -> None:
    history = History(BOUNDS)
    for now, accepted in ((100.0, 0), (100.25, 10), (100.75, 30), (101.0, 40), (101.5, 60)):
        history.observe(now, counters(accepted, accepted // 2))
    found = history.as_dict()["points"]
    assert (found["until"], found["accepted"], found["settled"]) == (101, (40,), (20,))


def test_a_rate_is_per_second_also_if_a_look_came_late() -> None:
    history = History(BOUNDS)
    history.observe(100.0, counters(0))
    history.observe(101.5, counters(300))
    assert history.as_dict()["points"]["accepted"] == (200,)


def test_a_moment_is_too_short_for_a_rate() -> None:
    history = History(BOUNDS)
    for now, accepted in ((100.9, 0), (101.0, 50), (101.5, 60), (102.0, 80)):
        history.observe(now, counters(accepted))
    assert history.as_dict()["points"]["accepted"] == (100, 40)


def test_seconds_in_which_nobody_could_look_are_gaps() -> None:
    history = History(BOUNDS)
    for now, accepted in ((100, 0), (101, 5), (104, 35)):
        history.observe(now, counters(accepted))
    assert history.as_dict()["points"]["accepted"] == (5, None, None, 10)


def test_it_keeps_five_minutes_and_their_marks() -> None:
    history = History(BOUNDS)
    history.mark(1000.0, "first")
    for second in range(1000, 1000 + SECONDS + 20):
        history.observe(second, counters())
    history.mark(1310.0, "second")
    found = history.as_dict()
    assert len(found["points"]["settled"]) == SECONDS
    assert [mark["label"] for mark in found["marks"]] == ["second"]


@pytest.mark.parametrize("later", [90.0, 5000.0])
def test_a_clock_that_was_set_begins_anew(later: float) -> None:
    history = History(BOUNDS)
    history.observe(100, counters(0))
    history.observe(101, counters(9))
    history.observe(later, counters(10))
    assert history.as_dict()["points"]["accepted"] == ()
    history.observe(later + 1, counters(17))
    assert history.as_dict()["points"]["accepted"] == (7,)


@pytest.mark.parametrize(
    ("counts", "share", "expected"),
    [
        ((0, 0, 0, 0), 0.5, None),
        ((4, 0, 0, 0), 0.5, 0.5),
        ((0, 10, 0, 0), 1.0, 10.0),
        ((0, 10, 0, 0), 0.5, 5.5),
        ((98, 0, 2, 0), 0.99, 55.0),
        ((0, 0, 0, 3), 0.5, 100.0),
    ],
)
def test_a_quantile_lies_evenly_in_its_bucket(
    counts: tuple[int, ...], share: float, expected: float | None
) -> None:
    assert quantile(BOUNDS, counts, share) == expected


def test_latencies_are_those_of_the_second() -> None:
    history = History(BOUNDS)
    history.observe(100, counters(0, 0, 50, 0, 0, 0))
    history.observe(101, counters(0, 0, 50, 10, 0, 0))
    found = history.as_dict()["points"]
    assert found["median"] == (5.5,)
    assert found["p99"] == (9.91,)
