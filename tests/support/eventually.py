"""The one way to wait in tests: for a condition, until a deadline."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

# Looking costs a query, a request or a walk through /proc: soon at first, for what takes a moment,
# and then less often, for what takes seconds and needs the processors itself.
LEAST_PAUSE = 0.005
MOST_PAUSE = 0.04


def eventually(condition: Callable[[], T], *, within: float = 10.0, what: str = "") -> T:
    """Return the condition's value as soon as it is true; fail after ``within`` seconds."""
    deadline = time.monotonic() + within
    pause = LEAST_PAUSE
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {within:g} s: {what or condition}")
        time.sleep(pause)  # between two looks; what ends the loop is the condition, or the deadline
        pause = min(pause * 1.5, MOST_PAUSE)
    return value
