"""docs/http.md keeps up with the service: every route and every metric is in it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from tests.support.orderly import ROOT

if TYPE_CHECKING:
    from tests.support.server import Server

PAGE = (ROOT / "docs" / "http.md").read_text(encoding="utf-8")


def rows_of(title: str) -> list[str]:
    """Read the first column of a section's table, without backquotes."""
    section = PAGE.partition(f"# {title}\n")[2].partition("\n## ")[0]
    return re.findall(r"^\| `(.*?)` \|", section, flags=re.MULTILINE)


def test_every_route_is_in_the_table_of_routes(shop: Server) -> None:
    paths = shop.client.get("/openapi.json").json()["paths"]
    routes = [f"{method.upper()} {path}" for path, each in paths.items() for method in each]
    assert sorted(rows_of("Orders over HTTP")) == sorted(routes)


def test_every_metric_is_in_the_table_of_metrics(shop: Server) -> None:
    text = shop.client.get("/metrics").text
    names = re.findall(r"^# TYPE (orderly_\w+)", text, flags=re.MULTILINE)
    assert sorted(rows_of("Metrics")) == sorted(names)
