"""PAYMENT_GATEWAY=bank in containers: the bank takes the money, whatever becomes of it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.e2e.test_chaos import KILL
from tests.support.eventually import eventually
from tests.support.stack import finish

if TYPE_CHECKING:
    from tests.e2e.conftest import NewStack
    from tests.support.stack import Stack

BOOKS = {"redis": ("bank", "var/bank.db"), "local": ("local", "var/orderly-bank.db")}
READ = """
import json, sqlite3
rows = sqlite3.connect("file:{}?mode=ro", uri=True).execute("SELECT reference, status FROM charges")
print(json.dumps(rows.fetchall()))
"""
IS_BANK = {
    "redis": "p.isdigit() and b'orderly\\0bank' in open(f'/proc/{p}/cmdline', 'rb').read()",
    "local": "p.isdigit() and open(f'/proc/{p}/comm').read() == 'orderly-bank\\n'",
}


def assert_charged_once(stack: Stack) -> None:
    service, path = BOOKS[stack.mode]
    book: list[Any] = json.loads(stack.python(service, READ.format(path)).out)
    # What costs nothing is paid without a call.
    outcomes = stack.query("SELECT order_id, status FROM outcomes WHERE amount > 0")
    assert sorted(map(tuple, book)) == sorted(outcomes)
    stack.orderly.assert_serial()


@pytest.mark.parametrize("mode", ["redis", "local"])
def test_the_bank_may_be_killed_and_charges_nobody_twice(new_stack: NewStack, mode: str) -> None:
    with new_stack(mode, PAYMENT_GATEWAY="bank") as stack:
        assert_charged_once(stack)
        before = len(stack.query("SELECT order_id FROM outcomes"))
        running = stack.run("--orders", "3000", "--seed", "7", "--rate", "500")
        seen = "SELECT order_id FROM outcomes"
        eventually(lambda: len(stack.query(seen)) > before + 300, within=60, what="payments")
        stack.python(BOOKS[mode][0], KILL.format(IS_BANK[mode]))
        report = finish(running)
        assert (report["created"], report["dead"], report["verified"]) == (3000, 0, True)
        assert_charged_once(stack)
