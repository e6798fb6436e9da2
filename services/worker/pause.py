"""A flag that pauses consumers, in memory that they share with who sets it."""

from __future__ import annotations

from typing import Any

PAUSE_POLL_SECONDS = 0.05
"""How often a consumer that is paused looks whether it may go on."""


class Pause:
    """Whether consumers are paused.

    Args:
        shared: An integer that needs no lock: whoever held that might be killed.
    """

    def __init__(self, shared: Any) -> None:  # noqa: ANN401  ctypes values are untyped
        self._shared = shared

    @property
    def is_on(self) -> bool:
        """Whether they are."""
        return bool(self._shared.value)

    def set(self, *, is_on: bool) -> None:
        """Pause them, or let them go on."""
        self._shared.value = is_on
