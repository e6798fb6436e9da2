"""The real sample in redis mode: what local mode makes of it, order for order."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from tests.support.orderly import SAMPLE, Orderly

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.replay import FinalState
    from tests.support.servers.redis_server import Redis

MAY_DIFFER = {"mode", "run_id", "seconds", "orders_per_second"}


class Outcome(NamedTuple):
    """All that a run comes to."""

    report: dict[str, Any]
    journal: str
    final_state: FinalState


def pay_the_sample(orderly: Orderly, mode: str, workers: int) -> Outcome:
    report = orderly.json("run", SAMPLE, "--workers", str(workers))
    assert report["mode"] == mode
    numbers = {name: found for name, found in report.items() if name not in MAY_DIFFER}
    return Outcome(numbers, orderly("journal").out, orderly.final_state())


@pytest.fixture(scope="module")
def in_local_mode(tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    outcome = pay_the_sample(Orderly(tmp_path_factory.mktemp("local")), "local", 2)
    assert outcome.report["created"] == len(outcome.final_state.status) == 2841
    assert outcome.report["verified"] is True
    return outcome


@pytest.fixture(params=[pytest.param("sqlite", marks=pytest.mark.long), "postgresql"])
def orderly(request: pytest.FixtureRequest, tmp_path: Path, redis_server: Redis) -> Orderly:
    """The command in redis mode, with each kind of ledger."""
    if request.param == "postgresql":
        scaled: Orderly = request.getfixturevalue("scaled")
        return scaled
    return Orderly(tmp_path, {"QUEUE_MODE": "redis", "REDIS_URL": redis_server.url})


@pytest.mark.parametrize(
    "workers", [2, *(pytest.param(number, marks=pytest.mark.long) for number in (1, 4))]
)
def test_redis_mode_pays_the_sample_as_local_mode_does(
    orderly: Orderly, in_local_mode: Outcome, workers: int
) -> None:
    assert pay_the_sample(orderly, "redis", workers) == in_local_mode
