"""Fixtures of the tests that start no process."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.inputs import Reader

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def read(tmp_path: Path) -> Reader:
    """Reads bytes as a file."""
    return Reader(tmp_path)
