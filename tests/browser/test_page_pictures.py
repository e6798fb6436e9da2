"""Pictures of the page in its states, to be looked at: var/screenshots."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

from playwright.sync_api import expect

from tests.support.orderly import ROOT

if TYPE_CHECKING:
    from tests.browser.conftest import Open
    from tests.support.server import Server

FOLDER = ROOT / "var" / "screenshots"


def test_pictures_are_taken_of_every_state(stage: Server, open_page: Open) -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    pages = {
        f"{scheme}-{width}": open_page(
            stage,
            may_lose=True,
            color_scheme=scheme,
            viewport={"width": width, "height": 900},
            reduced_motion="reduce",
        )
        for scheme in ("light", "dark")
        for width in (390, 1440)
    }

    def take(state: str, selector: str) -> None:
        for name, page in pages.items():
            expect(page.locator(selector).first).to_be_visible()
            path = FOLDER / f"{state}-{name}.png"
            page.screenshot(path=path, full_page=True)
            assert path.stat().st_size > 10_000

    take("empty", "#orders-empty pre")
    stage.client.post("/generator", json={"orders": 3000, "rate": 1500})
    take("busy", "#letters li")
    stage.stop(signal.SIGKILL)
    take("disconnected", "#notice")
