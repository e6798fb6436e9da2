"""Files of orders for a run, and what it makes of them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.orderly import Orderly


def write(folder: Path, files: dict[str, bytes]) -> None:
    for name, content in files.items():
        (folder / name).write_bytes(content)


def rejects(path: Path) -> list[dict[str, Any]]:
    return [json.loads(text) for text in path.read_text().splitlines()]


def accepted(orderly: Orderly) -> set[str]:
    return set(orderly.final_state().status)


def assert_counts(report: dict[str, Any], *, created: int, duplicates: int, rejected: int) -> None:
    found = report["created"], report["duplicates"], report["rejected"]
    assert found == (created, duplicates, rejected)
    assert report["received"] == created + duplicates + rejected
    assert report["paid"] == created
    assert report["verified"] is True
