"""A payment backend over HTTP: what each of its answers means, and what was never sent."""

from __future__ import annotations

import asyncio
import threading
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest

from services.payment.http_client import Client
from services.payment.http_gateway import HttpGateway
from services.payment.http_token import BearerToken
from tests.support.eventually import eventually
from tests.support.orderly import Orderly, assert_one_line, finish
from tests.support.raw_backend import RawBackend
from tests.support.scripted import orders_file

if TYPE_CHECKING:
    from collections.abc import Iterator

    from services.payment.gateway import BookedCharge
    from tests.support.bank import Bank

ONCE_MORE = ("paid", None, "00")
NEW_KEY = ("paid", None, "01")

# What an order's calls come to, by its steps: status, reason, and the generation of each key that
# was used, with "?" for a look-up.
FATES: dict[str, tuple[str, str | None, str]] = {
    "": ("paid", None, "0"),
    ".longest": ("paid", None, "0"),
    ".declined": ("declined", "too poor", "0"),
    ".400": ("dead", "HTTP 400: not so", "0"),
    ".422": ("dead", "HTTP 422: not so", "0"),
    ".closed.400": ("paid", None, "000"),
    ".closed.422": ("paid", None, "000"),
    ".closed.declined": ("declined", "too poor", "00"),
    ".409": ONCE_MORE,
    ".409-0": ONCE_MORE,
    ".429": NEW_KEY,
    ".429-0": NEW_KEY,
    ".429-date": NEW_KEY,
    ".429-soon": NEW_KEY,
    ".503-1": NEW_KEY,
    ".503-date": NEW_KEY,
    ".closed.429-0": ("paid", None, "000"),
    ".503": ONCE_MORE,
    ".503-soon": ONCE_MORE,
    ".500": ONCE_MORE,
    ".504": ONCE_MORE,
    ".201": ONCE_MORE,
    ".418": ONCE_MORE,
    ".408": ONCE_MORE,
    ".paid402": ONCE_MORE,
    ".cut": ONCE_MORE,
    ".closed": ONCE_MORE,
    ".reset": ONCE_MORE,
    ".nohttp": ONCE_MORE,
    ".late": ONCE_MORE,
    ".nojson": ONCE_MORE,
    ".deep": ONCE_MORE,
    ".list": ONCE_MORE,
    ".long": ONCE_MORE,
    ".otheramount": ONCE_MORE,
    ".floatamount": ONCE_MORE,
    ".othercurrency": ONCE_MORE,
    ".otherreference": ONCE_MORE,
    ".otherkey": ONCE_MORE,
    ".otherstatus": ONCE_MORE,
    # A replayed failure: the key is of no use any more, and a look-up has to tell.
    ".500r.free": ("paid", None, "0?1"),
    ".503r-1.free": ("paid", None, "0?1"),
    ".closed.500r.known": ("paid", None, "00?"),
    ".closed.500r.declined": ("declined", "too poor", "00?"),
    # No look-up that fails says that nothing was charged.
    ".closed.500r.404.known": ("paid", None, "00??"),
    ".closed.500r.204.known": ("paid", None, "00??"),
    ".closed.500r.500.known": ("paid", None, "00??"),
    ".closed.500r.object.known": ("paid", None, "00??"),
    ".closed.500r.nojson.known": ("paid", None, "00??"),
    ".closed.500r.otherkey.known": ("paid", None, "00??"),
    ".closed.500r.otheramount.known": ("paid", None, "00??"),
    ".closed.500r.cut.known": ("paid", None, "00??"),
    ".closed.500r.429-0.known": ("paid", None, "00??"),
}


@pytest.fixture
def backend() -> Iterator[RawBackend]:
    with closing(RawBackend()) as started:
        yield started


@pytest.fixture
def silent() -> Iterator[RawBackend]:
    """One that does not listen yet."""
    with closing(RawBackend(starts=False)) as started:
        yield started


def use(orderly: Orderly, url: str, **environment: str) -> Orderly:
    """Have a command charge through a backend."""
    orderly.environment |= {"PAYMENT_GATEWAY": url, "GATEWAY_TIMEOUT": "1", **environment}
    return orderly


def fate(orderly: Orderly, order_id: str) -> tuple[str, str | None]:
    story: dict[str, Any] = orderly.json("explain", order_id)
    (end,) = (event for event in story["history"] if event["event"] == story["status"])
    return story["status"], end["reason"]


def run_one(orderly: Orderly, steps: str) -> Any:
    """Begin to pay one order."""
    return orderly.start("run", orders_file(orderly.folder, [(f"a{steps}", "ada")]), "--json")


def run_away(orderly: Orderly, url: str, **environment: str) -> Any:
    """Begin to pay orders that are refused, and wait until it is noticed that nobody is there."""
    use(orderly, url, **environment)
    orders = [(f"o{number}.400", f"c{number}") for number in range(12)]
    running = orderly.start("run", orders_file(orderly.folder, orders), "--json")
    await_outage(orderly)
    assert orderly.json("status")["in_doubt"] == 0
    return running


def assert_never_sent(orderly: Orderly, running: Any, backend: RawBackend) -> None:
    """See a backend refuse what it is asked for: not as one that may have charged before."""
    ended = finish(running)
    assert ended.code == 0, ended.err
    for number in range(12):
        assert backend.of(f"o{number}.400") == "0"
        assert fate(orderly, f"o{number}.400") == ("dead", "HTTP 400: not so")


def await_outage(orderly: Orderly) -> None:
    eventually(orderly.accepted, within=20, what="an order")
    eventually(lambda: orderly.json("status")["gateway_away"], within=20, what="it is noticed")


def test_each_answer_means_what_the_table_says(orderly: Orderly, backend: RawBackend) -> None:
    # A proxy of the environment is none of ours, and nobody is there.
    use(orderly, f"{backend.url}/v1/", HTTP_PROXY="http://127.0.0.1:9", GATEWAY_TIMEOUT="0.5")
    orders = [(f"o{number}{steps}", f"c{number}") for number, steps in enumerate(FATES)]
    report = orderly.json("run", orders_file(orderly.folder, orders))
    assert (report["open"], report["verified"]) == (0, True)
    found = {
        steps: (*fate(orderly, name), backend.of(name))
        for steps, (name, _) in zip(FATES, orders, strict=True)
    }
    assert found == FATES
    assert all(backend.charged(name) <= 1 for name, _ in orders)
    assert {each.path.partition("?")[0] for each in backend.asked} <= {
        "/v1/charges",
        "/v1/healthz",
    }
    assert orderly.query("SELECT gateway FROM ledger") == [(f"{backend.url}/v1",)]


@pytest.mark.parametrize("steps", [".401", ".403", ".404", ".405", ".301", ".away"])
def test_a_refusal_of_us_all_stops_the_calls_and_counts_for_nothing(
    orderly: Orderly, backend: RawBackend, steps: str
) -> None:
    use(orderly, backend.url)
    ended = finish(run_one(orderly, f"{steps}.400"))
    assert ended.code == 0, ended.err
    assert fate(orderly, f"a{steps}.400") == ("dead", "HTTP 400: not so")
    kinds = [each.path for each in backend.asked]
    assert kinds == ["/charges", "/healthz", "/charges?key=-", "/charges"]


def test_the_backend_may_ask_all_to_wait_for_so_many_seconds(
    orderly: Orderly, backend: RawBackend
) -> None:
    use(orderly, backend.url, PAYMENT_WORKERS="1")
    orders = [("a.429-2", "ada"), *((f"o{number}", f"c{number}") for number in range(5))]
    orders += [("b", "ada")]
    report = orderly.json("run", orders_file(orderly.folder, orders))
    assert report["paid"] == 7
    assert report["seconds"] > 2


def test_nothing_is_sent_where_nobody_listens(orderly: Orderly, silent: RawBackend) -> None:
    running = run_away(orderly, silent.url)
    silent.start()
    assert_never_sent(orderly, running, silent)


def test_nothing_is_sent_where_connections_wait_for_ever(
    orderly: Orderly, silent: RawBackend
) -> None:
    with silent.is_full():
        # Longer than anybody waits for a connection.
        running = run_away(orderly, silent.url, GATEWAY_TIMEOUT="8")
    silent.start()
    assert_never_sent(orderly, running, silent)


@pytest.mark.parametrize("url", ["https://127.0.0.1:{port}", "http://backend.invalid:{port}"])
def test_nothing_is_sent_to_somebody_else(orderly: Orderly, backend: RawBackend, url: str) -> None:
    running = run_away(orderly, url.format(port=backend.port), GATEWAY_TIMEOUT="8")
    running.kill()
    running.communicate()
    assert not backend.asked


def test_a_connection_that_is_reset_in_mid_request_may_have_brought_it(
    orderly: Orderly, backend: RawBackend
) -> None:
    backend.resets = 1
    ended = finish(run_one(use(orderly, backend.url), ".400"))
    assert ended.code == 0, ended.err
    # Refused under a key that may have been used, it is asked for again, and not dead.
    assert (backend.of("a.400"), fate(orderly, "a.400")) == ("00", ("paid", None))


def test_a_connection_that_the_backend_closes_while_it_is_idle_harms_nobody(
    orderly: Orderly,
) -> None:
    with closing(RawBackend(hangs_up=True)) as backend:
        use(orderly, backend.url)
        orders = [(f"o{number}", f"c{number % 3}") for number in range(60)]
        report = orderly.json("run", orders_file(orderly.folder, orders))
        assert (report["paid"], report["verified"]) == (60, True)
        assert {backend.charged(name) for name, _ in orders} == {1}
        assert backend.connections >= 60


def test_as_many_calls_are_out_as_there_may_be(orderly: Orderly, backend: RawBackend) -> None:
    use(orderly, backend.url, PAYMENT_WORKERS="1", GATEWAY_TIMEOUT="30")
    backend.script.together = threading.Barrier(150)
    orders = [(f"o{number}.all", f"c{number}") for number in range(150)]
    report = orderly.json("run", orders_file(orderly.folder, orders))
    assert report["paid"] == 150
    assert all(backend.of(name) == "0" for name, _ in orders)


def test_a_token_comes_from_a_file_that_may_change(orderly: Orderly, backend: RawBackend) -> None:
    backend.token = "new"  # noqa: S105
    file = orderly.folder / "token"
    file.write_text("old\n")
    use(orderly, backend.url)
    orderly.environment["GATEWAY_TOKEN_FILE"] = file.name
    running = run_one(orderly, "")
    await_outage(orderly)
    file.write_text("new\n")
    ended = finish(running)
    assert ended.code == 0, ended.err
    assert fate(orderly, "a") == ("paid", None)
    assert not ended.json["dead"]
    backend.asked.clear()


@pytest.mark.parametrize(
    ("name", "path", "words"),
    [
        ("GATEWAY_TOKEN_FILE", "nowhere", "cannot be read: No such file"),
        ("GATEWAY_TOKEN_FILE", "blank", "must consist of"),
        ("GATEWAY_CA_FILE", "nowhere", "cannot be used: No such file"),
        ("GATEWAY_CA_FILE", "blank", "cannot be used: no certificate is in it"),
    ],
)
def test_a_file_that_cannot_be_used_is_told_of_at_the_start(
    orderly: Orderly, name: str, path: str, words: str
) -> None:
    (orderly.folder / "blank").write_text("a b")
    use(orderly, "https://127.0.0.1:9", **{name: path})
    said = orderly("run", "--orders", "1", "--seed", "7")
    assert_one_line(said, 2, f"{name}={path!r} {words}")


def test_the_bank_is_a_backend_whose_book_can_be_read(orderly: Orderly, bank: Bank) -> None:
    bank.start()
    use(orderly, bank.url, GATEWAY_TIMEOUT="10")
    report = orderly.json("run", "--orders", "1500", "--seed", "7")
    assert (report["open"], report["dead"], report["verified"]) == (0, 0, True)
    orderly.assert_serial()
    book = asyncio.run(read_book(bank.url))
    assert [each.id for each in book] == [str(each["id"]) for each in bank.charges()]
    statuses = dict(orderly.query("SELECT order_id, status FROM outcomes"))
    assert {each.reference: each.status for each in book} == statuses


async def read_book(url: str) -> list[BookedCharge]:
    gateway = HttpGateway(Client(url, BearerToken(""), None))
    try:
        return [each async for each in gateway.charges()]
    finally:
        await gateway.close()
