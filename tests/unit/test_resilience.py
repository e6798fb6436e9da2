"""A loop that meets what it does not know: it goes on, says so once, and does not run hot."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from shared.logs import Logger
from shared.resilience import Mishaps

if TYPE_CHECKING:
    from collections.abc import Callable


def survive(mishaps: Mishaps, *errors: BaseException | None) -> None:
    for error in errors:
        with mishaps.survived(KeyError):
            if error is not None:
                raise error


@pytest.fixture
def told(capsys: pytest.CaptureFixture[str]) -> Callable[[], list[dict[str, Any]]]:
    return lambda: [json.loads(line) for line in capsys.readouterr().err.splitlines()]


def test_a_loop_survives_what_it_does_not_know_and_says_it_once(
    told: Callable[[], list[dict[str, Any]]],
) -> None:
    mishaps = Mishaps(Logger("test"), "step failed")
    for _ in range(1000):
        survive(mishaps, ValueError("strange"), None, SystemExit(3))
    first, second = told()
    assert (first["event"], second["event"]) == ("step failed", "step failed")
    assert "ValueError: strange" in first["exception"]
    assert "SystemExit: 3" in second["exception"]


def test_it_waits_longer_each_time_until_a_step_goes_well() -> None:
    mishaps = Mishaps(Logger("test"), "step failed")
    waits = []
    for _ in range(10):
        survive(mishaps, OSError("again"))
        waits.append(mishaps.backoff.seconds)
    assert waits == sorted(waits)
    assert waits[0] < 0.1
    assert waits[-1] == 2
    assert mishaps.latest == "OSError: again"
    survive(mishaps, None)
    assert not mishaps.backoff.seconds


def test_what_is_known_and_a_ctrl_c_get_through() -> None:
    mishaps = Mishaps(Logger("test"), "step failed")
    for error in (KeyError("known"), KeyboardInterrupt()):
        with pytest.raises(type(error)):
            survive(mishaps, error)
    assert not mishaps.backoff.seconds
