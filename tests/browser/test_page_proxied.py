"""The page behind nginx: below a path, and where the proxy calls the service by another name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import expect

from tests.support.ledgers import order
from tests.support.server import Server
from tests.support.servers.daemon import free_port
from tests.support.servers.nginx_server import NginxServer

if TYPE_CHECKING:
    from tests.browser.conftest import Open
    from tests.support.orderly import Orderly

_WAYS = {
    "/": "location / {{ proxy_pass http://127.0.0.1:{service}; }}",
    "/orderly/": "location /orderly/ {{ proxy_pass http://127.0.0.1:{service}/; }}",
}


@dataclass
class Address:
    """Where the page is to be opened."""

    url: str


@pytest.mark.parametrize("path", _WAYS)
def test_it_shows_listens_and_acts_behind_a_proxy(
    orderly: Orderly, open_page: Open, path: str
) -> None:
    orderly.environment["HTTP_ALLOWED_HOSTS"] = "127.0.0.1"
    service = Server(orderly).start()
    port = free_port()
    location = _WAYS[path].format(service=service.port)
    proxy = NginxServer(f"server {{ listen 127.0.0.1:{port}; {location} }}", port)
    try:
        page = open_page(Address(f"http://127.0.0.1:{port}{path}"), may_lose=True)
        expect(page.locator("#state")).to_have_text("live")
        service.place(order("behind-1", "ada"))
        expect(page.locator("#orders tbody tr")).to_have_count(1)
        page.locator("#orders tbody button").first.click()
        expect(page.locator("#story-title")).to_contain_text("behind-1")
        page.keyboard.press("Escape")
        page.fill("#query", "ada")
        page.keyboard.press("Enter")
        expect(page.locator("#orders-note")).to_contain_text("1 match")
        page.fill("#count", "7")
        page.locator("#generate button").click()
        expect(page.locator("#said")).to_contain_text("Generating 7 orders")
        expect(page.locator("[data-term=created] dd")).to_have_text("8")
        documents = open_page(Address(f"http://127.0.0.1:{port}{path}docs"), may_lose=True)
        operation = documents.locator("#operations-orders-place_order_orders_post")
        operation.locator(".opblock-summary-control").first.click()
        operation.locator(".execute").click()
        answered = operation.locator(".live-responses-table tbody .response-col_status").first
        expect(answered).to_contain_text("202")
    finally:
        proxy.close()
        service.close()
