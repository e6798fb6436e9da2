"""A gateway with a book, which does what an order's id says and may write down something else.

What follows the id's first dot is the step; the book is a file, a charge a line.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.support.orderly import Orderly

MODULE = '''
import asyncio
import json
import os

from services.payment.gateway import PAID, Declined, InDoubt, Paid, PermanentFailure, Unavailable

BOOK = os.path.abspath("book.jsonl")
AWAY = os.path.abspath("away")


def book(charge, amount=None, status="paid"):
    order = charge.order
    amount = charge.amount if amount is None else amount
    line = {"id": f"ch-{os.getpid()}-{os.urandom(6).hex()}", "key": charge.key,
            "reference": order.order_id, "account": f"customer/{order.customer_id}/USD",
            "amount": amount, "currency": order.currency, "status": status,
            "reason": None if status == "paid" else "too poor"}
    with open(BOOK, "a", encoding="utf-8") as lines:
        lines.write(json.dumps(line) + "\\n")
    return Paid(line["id"])


def read():
    if not os.path.exists(BOOK):
        return
    with open(BOOK, encoding="utf-8") as lines:
        for line in lines:
            if line.endswith("\\n"):
                yield json.loads(line)


class Blind:
    """Declares neither keys nor a look-up: what is in doubt is dead."""

    concurrent = True
    settles_within = 0

    async def charge(self, charge):
        if os.path.exists(AWAY):
            raise Unavailable("no route to it")
        await asyncio.sleep(float(os.environ.get("LATENCY", "0")))
        match charge.order.order_id.partition(".")[2]:
            case "dead":
                book(charge)
                raise PermanentFailure("stolen card")
            case "declined":
                book(charge)
                return Declined("too poor")
            case "truly-declined":
                book(charge, status="declined")
                return Declined("too poor")
            case "missing":
                return PAID
            case "more":
                return book(charge, charge.amount + 1)
            case "twice":
                book(charge)
                return book(charge)
            case "doubt-paid" | "doubt-discarded":
                book(charge)
                raise InDoubt("cut off")
            case "doubt-declined":
                book(charge, status="declined")
                raise InDoubt("cut off")
            case "doubt-free" if charge.key.endswith("~0"):
                raise InDoubt("cut off")
            case "stuck":
                if not any(each["key"] == charge.key for each in read()):
                    book(charge)
                raise InDoubt("cut off")
        return book(charge)

    def charges(self, after=None):
        return read()


class Slow(Blind):
    settles_within = 3600


class Keyed(Blind):
    idempotent = True


class Listed(Blind):
    def charges(self, after=None):
        return list(read())


class Awaited(Blind):
    async def charges(self, after=None):
        return list(read())


class Flowing(Blind):
    async def charges(self, after=None):
        for each in read():
            await asyncio.sleep(0)
            yield each


class Charge:
    def __init__(self, fields):
        self.__dict__.update(fields)


class Objects(Blind):
    async def charges(self, after=None):
        for each in read():
            yield Charge(each)


class Torn(Blind):
    def charges(self, after=None):
        yield from read()
        raise ConnectionError("gone in the middle")


class Wrong(Blind):
    def charges(self, after=None):
        for each in read():
            yield each | {"amount": "much"}


class Bookless:
    def charge(self, charge):
        return PAID
'''


def use_book(orderly: Orderly, gateway: str = "Blind") -> None:
    """Have a command charge through the gateway, as what it declares."""
    (orderly.folder / "booked.py").write_text(MODULE)
    orderly.environment["PAYMENT_GATEWAY"] = f"booked:{gateway}"


def add_charge(orderly: Orderly, key: str, **fields: Any) -> None:
    """Write a charge into the book that nobody has asked for."""
    charge = {"id": f"extra-{key}", "key": key, "reference": key.split("~")[1], "amount": 100}
    charge |= {"account": "customer/eve/USD", "currency": "USD", "status": "paid", "reason": None}
    with (orderly.folder / "book.jsonl").open("a") as book:
        book.write(json.dumps(charge | fields) + "\n")
