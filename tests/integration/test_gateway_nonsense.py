"""A gateway that answers nonsense, or changes what it is given, harms one order at most."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys

import pytest

from tests.support.eventually import eventually
from tests.support.ledgers import order
from tests.support.orderly import ROOT, Orderly, finish, kill, workers_of

MODULE = """
import asyncio

from services.payment.gateway import PAID, Declined, Paid, PermanentFailure


class Strange:
    def charge(self, charge):
        order = charge.order
        match order.order_id:
            case "renamed":
                order.__dict__["order_id"] = "stolen"
            case "elsewhere":
                object.__setattr__(order, "currency", "EUR")
            case "cheaper":
                object.__setattr__(order.items[0], "unit_price", 0)
            case "number":
                return Declined(12345)
            case "class":
                return Paid
            case "coloured":
                return Declined("\\x1b[31mred\\x07\\nfake-line  1.00 USD  attempts 1")
            case "long":
                raise PermanentFailure("A" * 5_000_000)
            case "cancelled":
                raise asyncio.CancelledError
            case "leaving":
                raise SystemExit(0)
        return PAID


class Waiting:
    async def charge(self, charge):
        return PAID
"""
FATES = {
    **dict.fromkeys(("renamed", "elsewhere", "cheaper"), ("paid", None)),
    "number": ("declined", "12345"),
    "coloured": ("declined", r"\x1b[31mred\x07\nfake-line  1.00 USD  attempts 1"),
    "class": (
        "dead",
        "in doubt: the gateway answered the class Paid; return PAID or Declined(reason)",
    ),
    "long": ("dead", "A" * 482 + "… (4,999,518 more)"),
    "cancelled": ("dead", "in doubt: CancelledError"),
    "leaving": ("dead", "in doubt: SystemExit: 0"),
    "good": ("paid", None),
}


MEDDLER = """
import decimal
import os
import random
import signal
import socket
import sys
import threading
import warnings

from services.payment.gateway import PAID, TransientFailure


def meddle():
    def refuse(*_):
        raise RuntimeError("somebody else's")

    for name in ("random", "uniform", "randrange", "choice", "shuffle"):
        setattr(random, name, refuse)
    decimal.getcontext().prec = 1
    socket.setdefaulttimeout(0.001)
    warnings.simplefilter("error")
    os.makedirs("elsewhere", exist_ok=True)
    os.chdir("elsewhere")
    os.environ.clear()
    sys.stdout = sys.stderr = None
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        signal.signal(signal.SIGINT, signal.SIG_IGN)


class AtOnce:
    def charge(self, charge):
        if charge.attempt == 1 and charge.order.order_id.endswith("0"):
            raise TransientFailure("later")
        return PAID


class InCharge(AtOnce):
    def charge(self, charge):
        meddle()
        return super().charge(charge)


class AsItLoads(AtOnce):
    def __init__(self):
        meddle()
"""


@pytest.mark.long
def test_each_order_has_its_own_clear_outcome(either: Orderly) -> None:
    (either.folder / "mine.py").write_text(MODULE)
    # One customer's, so that they are of one batch, and each waits for those before it.
    path = either.folder / "orders.jsonl"
    path.write_text("\n".join(json.dumps(order(name)) for name in FATES))
    report = either.json("run", path, PAYMENT_GATEWAY="mine:Strange")
    assert report["verified"] is True
    for name, fate in FATES.items():
        story = either.json("explain", name)
        (end,) = (event for event in story["history"] if event["event"] == story["status"])
        assert (story["status"], end["reason"]) == fate, name
        assert story["total"] == 100
    assert either.json("verify")["ok"]
    for shown in either("dead", "list"), either("explain", "coloured"):
        assert shown.out.isascii() or "… (" in shown.out
        assert "\x1b" not in shown.out
        assert not any(line.startswith("fake-line") for line in shown.out.splitlines())


@pytest.mark.long
@pytest.mark.parametrize("when", ["InCharge", "AsItLoads"])
def test_what_a_gateway_does_to_its_process_is_its_own_affair(either: Orderly, when: str) -> None:
    (either.folder / "mine.py").write_text(MEDDLER)
    report = either.json("run", "--orders", "100", "--seed", "1", PAYMENT_GATEWAY=f"mine:{when}")
    assert (report["paid"], report["dead"], report["verified"]) == (100, 0, True)
    assert either.totals()["paid"] == 100  # in the ledger that the setting names from here
    either.environment["PAYMENT_GATEWAY"] = f"mine:{when}"
    running = either.start("run", "-", stdin=subprocess.PIPE)
    eventually(lambda: workers_of(running.pid), within=30, what="a worker")
    kill(running.pid, signal.SIGTERM)
    assert running.wait(30) == 1
    assert "stopped before its end" in finish(running).err


def test_a_coroutine_is_awaited(either: Orderly) -> None:
    (either.folder / "mine.py").write_text(MODULE)
    report = either.json("run", "--orders", "20", "--seed", "1", PAYMENT_GATEWAY="mine:Waiting")
    assert (report["paid"], report["verified"]) == (20, True)


@pytest.mark.long
@pytest.mark.parametrize("form", ["json", "console"])
def test_what_is_logged_steers_no_terminal(form: str) -> None:
    program = (
        "from shared.environment import load_settings\n"
        "from shared.logs import Logger, set_up_logs\n"
        "set_up_logs(load_settings())\n"
        "evil = '\\x1b[2J\\x9b\\u202e' + 'A' * 1_000_000\n"
        "try:\n"
        "    raise ValueError(evil)\n"
        "except ValueError:\n"
        "    Logger('test').exception('broken', why=evil)\n"
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT), "LOG_FORMAT": form}
    logged = subprocess.run(
        [sys.executable, "-c", program], env=environment, check=True, capture_output=True
    ).stderr.decode()
    assert "ValueError" in logged
    assert "more)" in logged
    assert len(logged) < 5000
    assert not any(evil in logged for evil in ("\x1b[2J", "\x9b", "\u202e"))
