"""PAYMENT_GATEWAY=bank in local mode: who pays has a bank of its own, and no longer than that."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sqlite3
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from tests.support.eventually import eventually
from tests.support.orderly import Orderly, assert_one_line, finish, processes_of
from tests.support.processes import is_alive
from tests.support.server import BEARER, TOKEN, Server

if TYPE_CHECKING:
    from collections.abc import Iterator

MANY = ("--orders", "3000", "--seed", "7")


@pytest.fixture
def banked(orderly: Orderly) -> Orderly:
    """The command, with a bank of its own."""
    orderly.environment |= {"PAYMENT_GATEWAY": "bank", "GATEWAY_TIMEOUT": "5"}
    return orderly


@pytest.fixture
def service(banked: Orderly) -> Iterator[Server]:
    started = Server(banked)
    yield started
    started.close()


def bank_of(group: int) -> int:
    """Find the bank among the processes of a command."""

    def found() -> list[int]:
        banks = [pid for pid in processes_of(group) if name_of(pid) == "orderly-bank"]
        return [pid for pid in banks if is_alive(pid)]

    banks = eventually(found, within=20, what="a bank")
    assert banks is not None
    assert len(banks) == 1
    return banks[0]


def name_of(pid: int) -> str:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/comm").read_text().strip()
    return ""


def book(orderly: Orderly) -> list[tuple[str, str, int]]:
    """Each charge of the book: the order, what became of it, the amount."""
    path = orderly.folder / "var" / "orderly-bank.db"
    with contextlib.closing(sqlite3.connect(path)) as connection:
        return connection.execute("SELECT reference, status, amount FROM charges").fetchall()


def assert_charged_once(orderly: Orderly) -> None:
    """Hold the book against the ledger, and that against a plain replay."""
    outcomes = orderly.query("SELECT order_id, status FROM outcomes")
    assert sorted((name, status) for name, status, _ in book(orderly)) == sorted(outcomes)
    orderly.assert_serial()
    assert orderly.json("verify")["ok"]


def test_a_run_has_a_bank_and_leaves_none_behind(banked: Orderly) -> None:
    for seed in ("7", "8"):  # the second time at another port, and with the same book
        running = banked.start("run", "--orders", "1000", "--seed", seed, "--json")
        bank = bank_of(running.pid)
        ended = finish(running)
        assert ended.code == 0, ended.err
        assert ended.err.count("\n") == ended.err.count("running: ")
        assert not is_alive(bank)
    assert_charged_once(banked)
    assert banked.query("SELECT gateway FROM ledger") == [("bank",)]
    assert (banked.folder / "var" / "orderly-bank.db").stat().st_mode & 0o777 == 0o600


def test_a_bank_that_is_killed_is_replaced_and_charges_nobody_twice(banked: Orderly) -> None:
    running = banked.start("run", *MANY, "--rate", "1000", "--json")
    for _ in range(3):
        bank = bank_of(running.pid)
        before = banked.settled()
        eventually(lambda: banked.settled() > before, within=20, what="a payment")  # noqa: B023
        os.kill(bank, signal.SIGKILL)
        eventually(lambda: not is_alive(bank), within=20)  # noqa: B023
    ended = finish(running)
    assert ended.code == 0, ended.err
    events = [json.loads(line)["event"] for line in ended.err.splitlines() if line[0] == "{"]
    assert events.count("bank replaced") == 3
    assert ended.json["dead"] == 0
    assert_charged_once(banked)


def test_a_bank_ends_with_a_parent_that_is_killed(banked: Orderly) -> None:
    running = banked.start("run", *MANY, "--rate", "200")
    bank = bank_of(running.pid)
    eventually(banked.settled, within=20, what="a payment")
    running.kill()
    eventually(lambda: not is_alive(bank), within=10, what="the bank's end")
    running.communicate()
    assert banked.json("run")["verified"]
    assert_charged_once(banked)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_to_all_of_them_ends_the_bank_last(banked: Orderly, number: int) -> None:
    running = banked.start("run", *MANY, "--rate", "500", "--json")
    eventually(lambda: banked.settled() > 200, within=20, what="payments")
    os.killpg(running.pid, number) if number == signal.SIGINT else running.terminate()
    ended = finish(running)
    assert ended.json["open"] == 0, ended.err
    assert "bank lost" not in ended.err
    assert_charged_once(banked)


def test_a_service_and_a_run_beside_it_share_the_book(banked: Orderly, service: Server) -> None:
    service.start()
    banks = {bank_of(service.pid)}
    running = banked.start("run", *MANY, "--json")
    banks.add(bank_of(running.pid))
    assert len(banks) == 2
    ended = finish(running)
    assert (ended.code, ended.json["dead"]) == (0, 0), ended.err
    service.settle()
    assert service.stop().code == 0
    assert not any(map(is_alive, banks))
    assert_charged_once(banked)


def test_a_bank_of_ones_own_can_be_broken_for_a_show(banked: Orderly, service: Server) -> None:
    banked.environment |= {"CHAOS": "1", "API_TOKEN": TOKEN}
    service.start()
    (told,) = service.logged(event="the bank may be broken")
    faults: dict[str, Any] = {"seed": 1, "lost_after": 0.3, "fail_before": 0.2}
    answer = httpx.put(f"{told['url']}/faults", json=faults, headers=BEARER, trust_env=False)
    assert answer.status_code == 200, answer.text
    assert httpx.get(f"{told['url']}/faults", trust_env=False).status_code == 401
    service.client.headers.update(BEARER)
    service.bulk(banked("generate", "300", "--seed", "7").out.encode())
    assert service.settle()["dead"] == 0
    assert service.stop().code == 0
    assert_charged_once(banked)


def test_a_book_that_is_none_is_told_of_at_the_start(banked: Orderly) -> None:
    path = banked.folder / "var" / "orderly-bank.db"
    path.parent.mkdir()
    path.write_text("no book, but long enough that it could be one: " * 30)
    said = banked("run", *MANY)
    assert_one_line(said, 3, str(path), "is no SQLite database")
    assert not banked.settled()


def test_another_bank_can_be_named(banked: Orderly, bank: Any) -> None:
    bank.start()
    report = banked.json("run", *MANY, BANK_URL=bank.url)
    assert (report["dead"], report["verified"]) == (0, True)
    assert len(bank.charges()) == 3000
    assert not (banked.folder / "var" / "orderly-bank.db").exists()
