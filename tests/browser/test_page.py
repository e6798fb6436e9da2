"""What the page shows and does, in a real browser against a real service."""

from __future__ import annotations

import re
import signal
from contextlib import closing
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import expect

from tests.support.eventually import eventually
from tests.support.ledgers import order
from tests.support.scripted import orders_file, script
from tests.support.server import TOKEN, Server, lines

if TYPE_CHECKING:
    from playwright.sync_api import Page

    from tests.browser.conftest import Open
    from tests.support.orderly import Orderly
    from tests.support.scaled import Scaled


def figure(page: Page, term: str) -> int:
    """A figure of the equation."""
    return int(page.locator(f"[data-term={term}] dd").inner_text().replace(",", ""))


def test_orders_appear_and_the_equation_counts_them(stage: Server, open_page: Open) -> None:
    page = open_page(stage)
    expect(page.locator("#orders-empty")).to_contain_text("No order yet")
    expect(page.locator("[data-term=created] dd")).to_have_text("0")
    assert stage.place(order("first-one", "ada", 1234)).status_code == 202
    row = page.locator("#orders tbody tr", has_text="first-one")
    expect(row).to_contain_text("ada")
    expect(row).to_contain_text("12.34 USD")
    stage.bulk(lines([order(f"b-{number}", f"c-{number}") for number in range(1500)]))
    expect(page.locator("[data-term=created] dd")).to_have_text("1,501")
    expect(page.locator("[data-term=open] dd")).to_have_text("0")
    settled = sum(figure(page, term) for term in ("paid", "declined", "dead"))
    assert settled == 1501
    expect(page.locator("#check")).to_have_attribute("data-ok", "yes")
    expect(page.locator("#rates")).to_contain_text("accepted")
    expect(page.locator("#latency")).to_contain_text("median")


def test_amounts_have_the_digits_that_their_currency_has(stage: Server, open_page: Open) -> None:
    amounts = {"HUF": "1,234.56", "JPY": "123,456", "KWD": "123.456", "CLF": "12.3456"}
    page = open_page(stage)
    for currency, amount in amounts.items():
        assert stage.place(order(f"in-{currency}", amount=123_456, currency=currency)).is_success
        row = page.locator("#orders tbody tr", has_text=f"in-{currency}")
        expect(row.locator("td").nth(3)).to_have_text(f"{amount} {currency}")


def test_redis_mode_has_the_same_page(scaled: Scaled, open_page: Open) -> None:
    scaled.environment["CHAOS"] = "1"
    scaled.pay(2)
    with closing(Server(scaled)) as server:
        server.start()
        page = open_page(server, may_lose=True)  # it goes before the page does
        expect(page.locator("#mode")).to_have_text("redis")
        expect(page.locator("#workers tbody tr")).to_have_count(2)
        page.locator("#rate").fill("1000")
        page.get_by_role("button", name="Generate", exact=True).click()
        page.locator("#workers tbody button").first.click()
        expect(page.locator("#rates")).to_contain_text("replaced")
        expect(page.locator("[data-term=created] dd")).to_have_text("2,000", timeout=30_000)
        expect(page.locator("[data-term=open] dd")).to_have_text("0")
        expect(page.locator("#workers tbody tr")).to_have_count(2)


def test_a_killed_worker_comes_back(stage: Server, open_page: Open) -> None:
    page = open_page(stage)
    row = page.locator("#workers tbody tr").first
    expect(row).to_contain_text("idle")
    before = row.locator("td").nth(2).inner_text()
    page.get_by_role("button", name="Generate", exact=True).click()
    row.get_by_role("button").click()
    expect(row.locator("td").nth(6)).to_have_text("1")
    expect(row.locator("td").nth(2)).not_to_have_text(before)
    expect(page.locator("#rates")).to_contain_text("worker 0 replaced")
    page.get_by_role("button", name="Stop").click()
    expect(page.locator("#generated")).to_contain_text("done")
    expect(page.locator("[data-term=open] dd")).to_have_text("0")
    expect(page.locator("#check")).to_have_attribute("data-ok", "yes")


def test_consumers_are_paused_and_resumed(stage: Server, open_page: Open) -> None:
    page = open_page(stage)
    page.get_by_role("button", name="Pause consumers").click()
    expect(page.locator("#notice")).to_contain_text("The consumers are paused")
    stage.bulk(lines([order(f"p-{number}", "one-partition") for number in range(120)]))
    expect(page.locator("[data-term=open] dd")).to_have_text("120")
    partition = page.locator("#partitions li[data-stands]")
    expect(partition).to_have_count(1)
    expect(partition).to_contain_text("120")
    page.get_by_role("button", name="Resume consumers").click()
    expect(page.locator("[data-term=open] dd")).to_have_text("0")
    expect(page.locator("#notice")).to_be_hidden()
    expect(page.locator("#latency")).to_contain_text("resumed")


def test_dead_letters_are_decided_about(stage: Server, open_page: Open) -> None:
    stage.bulk(lines([order(f"d-{number}", f"c-{number}") for number in range(200)]))
    dead = int(stage.settle()["dead"])
    assert dead > 3
    page = open_page(stage)
    letters = page.locator("#letters li")
    expect(letters).to_have_count(dead)
    expect(letters.first).to_contain_text("card refused by issuer (injected)")
    chosen = letters.first.locator(".id").inner_text().replace("\n", "")
    letters.first.get_by_role("button", name="Retry").click()
    expect(page.locator("#said")).to_have_text(f"{chosen} is open again")
    eventually(lambda: stage.status(chosen) != "open")
    discarded = letters.nth(1).locator(".id").inner_text().replace("\n", "")
    letters.nth(1).get_by_role("button", name="Discard").click()
    expect(page.locator("#letters li", has_text=discarded)).to_have_count(0)
    history = stage.client.get(f"/orders/{discarded}").json()["history"]
    assert history[-1]["event"] == "discarded"
    page.get_by_role("button", name="Retry all", exact=True).click()
    page.get_by_role("button", name="Retry all of them").click()
    expect(page.locator("#said")).to_contain_text("open again")
    eventually(lambda: stage.client.get("/status").json()["dead"] < dead)
    expect(page.locator("#check")).to_have_attribute("data-ok", "yes")


def test_a_letter_in_doubt_is_opened_by_who_has_looked(orderly: Orderly, open_page: Open) -> None:
    script(orderly, "Blind")
    names = ["a.doubt", "b.doubt", "c.refuse.paid"]
    orderly.json("run", orders_file(orderly.folder, [(name, name[0]) for name in names]))
    with closing(Server(orderly)) as server:
        page = open_page(server.start(), may_lose=True)
        letters = page.locator("#letters li")
        expect(letters).to_have_count(3)
        page.get_by_role("button", name="Retry all", exact=True).click()
        page.get_by_role("button", name="Retry all of them").click()
        expect(page.locator("#said")).to_have_text("1 dead letter open again; 2 in doubt left")
        expect(letters).to_have_count(2)
        page.get_by_role("button", name="a.doubt was not charged: retry it").click()
        expect(page.locator("#said")).to_have_text("a.doubt is open again")
        page.get_by_role("button", name="b.doubt was charged").click()
        page.get_by_label("The backend's reference of the charge").last.fill("ch_42")
        page.keyboard.press("Enter")
        expect(page.locator("#said")).to_have_text("b.doubt is paid in its turn")
        expect(letters).to_have_count(0)
        eventually(lambda: server.client.get("/status").json()["paid"] == 3)
        assert len(server.client.get("/orders/b.doubt").json()["transfers"]) == 1


def test_the_search_finds_orders_and_customers_and_tells_a_story(
    stage: Server, open_page: Open
) -> None:
    stage.bulk(lines([order(f"s-{number}", f"who-{number % 40}") for number in range(400)]))
    stage.settle()
    page = open_page(stage)
    expect(page.locator("#orders tbody tr")).to_have_count(50)
    page.keyboard.press("/")
    expect(page.locator("#query")).to_be_focused()
    page.keyboard.type("who-7")
    expect(page.locator("#orders tbody tr")).to_have_count(10)
    page.locator("#query").fill("s-123")
    expect(page.locator("#orders tbody tr")).to_have_count(1)
    page.locator("#orders tbody button").click()
    story = page.locator("#story")
    told = stage.client.get("/orders/s-123").json()
    expect(story).to_contain_text("who-3")
    expect(story).to_contain_text(f"partition {told['partition']}, number {told['number']}")
    for event in told["history"]:
        expect(story.locator(".timeline")).to_contain_text(event["event"])
    page.keyboard.press("Escape")
    expect(story).to_be_hidden()
    page.locator("#query").fill("nobody-at-all")
    expect(page.locator("#orders-empty")).to_contain_text("is called nobody-at-all")
    page.locator("#query").fill("no such thing")
    expect(page.locator("#orders-empty")).to_contain_text("Ids consist of")
    page.locator("#query").fill("")
    expect(page.locator("#orders tbody tr")).to_have_count(50)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_page_outlives_its_service(
    stage: Server, open_page: Open, number: signal.Signals
) -> None:
    stage.place(order("before", "ada"))
    stage.settle()
    page = open_page(stage, may_lose=True)
    expect(page.locator("#state")).to_have_text("live")
    expect(page.locator("[data-term=created] dd")).to_have_text("1")
    port = stage.port
    stage.stop(number)
    expect(page.locator("#state")).to_have_text(re.compile("stopped|reconnecting"))
    expect(page.locator("#notice")).to_contain_text("The figures are of")
    expect(page.locator("[data-term=created] dd")).to_have_text("1")
    stage.start(port=port)
    expect(page.locator("#state")).to_have_text("live")
    expect(page.locator("#notice")).to_be_hidden()
    stage.place(order("after", "ada"))
    expect(page.locator("[data-term=created] dd")).to_have_text("2")
    expect(page.locator("#orders tbody tr").first).to_contain_text("after")


def test_the_token_is_asked_for_where_one_is_set(reserved: Server, open_page: Open) -> None:
    page = open_page(reserved, may_lose=False)
    expect(page.locator("#state")).to_have_text("live")
    page.get_by_role("button", name="Generate", exact=True).click()
    expect(page.locator("#token")).to_be_visible()
    page.locator("#token").get_by_role("button", name="Cancel").click()
    expect(page.locator("#generated")).to_contain_text("new ones each time")
    page.get_by_role("button", name="Generate", exact=True).click()
    page.locator("#token-value").fill(TOKEN)
    page.keyboard.press("Enter")
    expect(page.locator("#generated")).to_contain_text("accepted")


def test_without_leave_there_are_no_buttons_that_break_things(
    reserved: Server, open_page: Open
) -> None:
    page = open_page(reserved)
    expect(page.locator("#workers tbody tr").first).to_contain_text("idle")
    expect(page.get_by_role("button", name="Kill")).to_have_count(0)
    expect(page.get_by_role("button", name="Pause")).to_have_count(0)
    expect(page.locator("#chaos")).to_be_hidden()
