"""Fixtures that most tests share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.orderly import Orderly

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def orderly(tmp_path: Path) -> Orderly:
    """The command, with a ledger of this test's own."""
    return Orderly(tmp_path)
