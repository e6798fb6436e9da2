"""The page is there for everybody: by keyboard, on a phone, in light and dark, before any data."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect

from tests.browser.conftest import STAGE
from tests.support.ledgers import order
from tests.support.orderly import Orderly
from tests.support.server import Server, lines

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Page, Route

    from tests.browser.conftest import Open


def busy(server: Server) -> None:
    server.bulk(lines([order(f"x-{number}", f"c-{number % 90}") for number in range(900)]))
    server.settle()


def violations(page: Page) -> list[Any]:
    found = Axe().run(page).response["violations"]
    return [(each["id"], [node["html"] for node in each["nodes"]]) for each in found]


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A service with orders of every kind that tests look at, and do not change."""
    orderly = Orderly(tmp_path_factory.mktemp("shown"), STAGE.copy())
    service = Server(orderly).start()
    busy(service)
    yield service
    service.close()
    orderly.close()


def test_axe_finds_nothing(stage: Server, open_page: Open) -> None:
    pages = [
        open_page(
            stage,
            may_lose=True,
            color_scheme=scheme,
            viewport={"width": width, "height": 900},
            reduced_motion="reduce",
        )
        for scheme in ("light", "dark")
        for width in (390, 1440)
    ]

    def all_show(selector: str) -> None:
        for page in pages:
            expect(page.locator(selector).first).to_be_visible()
            assert violations(page) == []

    all_show("#orders-empty pre")
    busy(stage)
    stage.client.post("/chaos/pause")
    expect(pages[0].locator("#notice")).to_be_visible()
    all_show("#letters li")
    for page in pages:
        page.locator("#orders tbody button").first.click()
    all_show("#story .timeline li")
    stage.stop(signal.SIGKILL)
    for page in pages:
        page.keyboard.press("Escape")
        expect(page.locator("#notice")).to_contain_text("No news")
    all_show("#notice")


def test_everything_is_reached_by_keyboard(shown: Server, open_page: Open) -> None:
    page = open_page(shown)
    expect(page.locator("#letters li").first).to_be_visible()
    reached: list[str] = []
    for _ in range(250):
        page.keyboard.press("Tab")
        found = page.evaluate(
            """() => {
                const node = document.activeElement;
                const style = getComputedStyle(node);
                const seen = style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 2;
                const name = node.id || node.getAttribute("aria-label") || node.textContent;
                return [name, seen || node === document.body];
            }"""
        )
        assert found[1], f"{found[0]} does not show that it has the focus"
        reached.append(found[0])
        if found[0] == "pause":
            break
    wanted = {"theme", "query", "retry-all", "count", "rate", "kill", "pause"}
    assert wanted <= set(reached)
    assert sum(name.startswith("Kill worker") for name in reached) == 2
    assert sum(name.startswith("x-") for name in reached) >= 50
    assert sum(name.startswith(("Retry x-", "Discard x-")) for name in reached) >= 10
    page.locator("#orders tbody button").first.focus()
    opened = page.locator("#orders tbody button").first.inner_text()
    page.keyboard.press("Enter")
    expect(page.locator("#story")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.locator("#story")).to_be_hidden()
    assert page.evaluate("document.activeElement.textContent") == opened.replace("\n", "")


def test_nothing_is_wider_than_the_window(shown: Server, open_page: Open) -> None:
    page = open_page(shown)
    expect(page.locator("#letters li").first).to_be_visible()
    for width in (360, 390, 768, 1024, 1440, 1920, 2560):
        page.set_viewport_size({"width": width, "height": 900})
        page.evaluate("scrollTo(0, 0)")
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        page.evaluate("scrollTo(0, 1200)")
        expect(page.locator("#sum")).to_be_in_viewport()
        expect(page.locator("#sum")).to_contain_text("900 = ")


def test_the_frame_is_there_before_any_data(shown: Server, open_page: Open) -> None:
    page = open_page(shown)
    page.route("**/events", _keep)
    page.reload()
    expect(page.get_by_role("heading", name="Workers")).to_be_visible()
    expect(page.locator("[data-term=created] dd")).to_have_text("\N{EN DASH}")
    expect(page.locator("#state")).to_have_text("connecting")
    # No data has come, and none will; yet there is something to see.
    assert page.evaluate("performance.getEntriesByName('first-contentful-paint').length") == 1


def _keep(_route: Route) -> None:
    """Never answer."""


def test_a_theme_is_chosen_and_kept(shown: Server, open_page: Open) -> None:
    page = open_page(shown, color_scheme="dark")

    def background() -> str:
        return str(page.evaluate("getComputedStyle(document.body).backgroundColor"))

    dark = background()
    button = page.get_by_role("button", name="Theme")
    button.click()
    expect(button).to_have_text("Theme: light")
    light = background()
    assert light != dark
    page.reload()
    expect(button).to_have_text("Theme: light")
    assert background() == light
    button.click()
    assert background() == dark


def test_figures_do_not_move_their_neighbours(stage: Server, open_page: Open) -> None:
    page = open_page(stage)
    expect(page.locator("[data-term=created] dd")).to_have_text("0")

    def places() -> Any:
        return page.evaluate(
            """[...document.querySelectorAll("#equation dd, .stations b, #check")]
                .map((each) => each.getBoundingClientRect().left)"""
        )

    before = places()
    busy(stage)
    expect(page.locator("[data-term=created] dd")).to_have_text("900")
    assert places() == before
