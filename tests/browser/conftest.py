"""A real browser: the Chromium that is installed, driven by Playwright, which brings none."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import expect, sync_playwright

from tests.support.needs import needed
from tests.support.server import TOKEN, Server

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from playwright.sync_api import Browser, Page

    from tests.support.orderly import Orderly

    Open = Callable[..., Page]

STAGE = {"CHAOS": "1", "GATEWAY_FAULTS": "permanent=0.05,seed=7"}
WITHIN_MS = 15_000


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    path = needed("chromium")
    expect.set_options(timeout=WITHIN_MS)
    # Chromium has no sandbox for root; all that it opens here is a page of this project.
    options = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=path, args=options)
        yield started
        started.close()


@pytest.fixture
def open_page(browser: Browser) -> Iterator[Open]:
    """Opens the page of a service; at the end it has complained of nothing and asked nobody else.

    Where a service goes away on purpose, the browser says so: `may_lose` allows for that.
    """
    contexts = []
    complaints: list[str] = []
    hosts: set[str] = set()

    def open_page(server: Server, *, may_lose: bool = False, **options: Any) -> Page:
        options.setdefault("viewport", {"width": 1440, "height": 900})
        context = browser.new_context(**options)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(WITHIN_MS)

        def hear(text: str) -> None:
            if not (may_lose and "net::ERR_" in text):
                complaints.append(text)

        page.on("console", lambda said: hear(said.text) if said.type == "error" else None)
        page.on("pageerror", lambda error: hear(str(error)))
        page.on("request", lambda request: hosts.add(urlsplit(request.url).netloc))
        page.goto(server.url)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert complaints == []
    assert len(hosts - {""}) <= 1, hosts  # data: has none


@pytest.fixture
def stage(orderly: Orderly) -> Iterator[Server]:
    """A service with leave to break things, whose gateway refuses some orders for good."""
    orderly.environment |= STAGE
    service = Server(orderly).start()
    yield service
    service.close()


@pytest.fixture
def reserved(orderly: Orderly) -> Iterator[Server]:
    """A service that asks for a token, and has no leave to break things."""
    orderly.environment["API_TOKEN"] = TOKEN
    service = Server(orderly).start()
    yield service
    service.close()
