"""A flag that makes consumers rest, in memory that they share with who sets it."""

from __future__ import annotations

from typing import Any

HOLD_SECONDS = 0.05
"""How often a consumer that rests looks whether it may go on."""


class Hold:
    """Whether consumers shall rest.

    Args:
        shared: An integer that needs no lock: whoever held that might be killed.
    """

    def __init__(self, shared: Any) -> None:  # noqa: ANN401  ctypes values are untyped
        self._shared = shared

    @property
    def is_on(self) -> bool:
        """Whether to rest."""
        return bool(self._shared.value)

    def set(self, *, is_on: bool) -> None:
        """Have them rest, or go on."""
        self._shared.value = is_on
