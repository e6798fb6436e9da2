"""A gateway that does what an order's id says, call by call, and keeps a log of what it was asked.

The id's parts after the first are the steps: ``a.doubt.paid`` is in doubt at first, and paid when
it is asked for again. Where there are no more steps, an order is paid.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NamedTuple

from tests.support.ledgers import order

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.orderly import Orderly

MODULE = '''
import asyncio
import json
import os
import signal
import threading
import time

from services.payment.gateway import (
    NOT_CHARGED, PAID, UNDER_WAY, Declined, InDoubt, KeyInUse, KeySpent, Paid, PermanentFailure,
    RetryAfter, TransientFailure, Unavailable,
)

LOG = os.path.abspath("calls.jsonl")
LATENCY = float(os.environ.get("LATENCY", "0"))
AWAY = os.path.abspath("away")


def write(**fields):
    with open(LOG, "a", encoding="utf-8") as log:
        log.write(json.dumps(fields | {"at": time.time(), "pid": os.getpid()}) + "\\n")


def asked_before(order_id):
    """How often an order was asked for, or looked up, by whichever process."""
    try:
        with open(LOG, encoding="utf-8") as log:
            return sum(f'"begin", "order": "{order_id}"' in line for line in log)
    except FileNotFoundError:
        return 0


def step_of(order_id):
    steps = order_id.split(".")[1:]
    number = asked_before(order_id) - 1
    return steps[number] if number < len(steps) else "paid"


def answer(step, charge):
    match step:
        case "paid":
            return Paid(f"ref-{charge.key}")
        case "declined":
            return Declined("too poor")
        case "poor":
            return PAID if charge.amount <= charge.balance else Declined("insufficient funds")
        case "fail":
            raise TransientFailure("later")
        case "refuse":
            raise PermanentFailure("stolen card")
        case "away":
            raise Unavailable("no route to it")
        case "locked":
            raise Unavailable("who are you", for_all=True)
        case "busy":
            raise RetryAfter(0.3)
        case "inuse":
            raise KeyInUse(0.1)
        case "spent":
            raise KeySpent("a 500, and again a 500")
        case "doubt":
            raise InDoubt("cut off")
        case "broken":
            raise KeyError("card_number")
        case "nothing":
            return None
        case "free":
            return NOT_CHARGED
        case "underway":
            return UNDER_WAY
        case "exit":
            Base().end("charge", charge)
            os._exit(7)
        case "leave":
            raise SystemExit(0)
        case "kill":
            Base().end("charge", charge)
            os.kill(os.getpid(), signal.SIGKILL)


class Base:
    concurrent = True

    def begin(self, kind, charge):
        write(event="begin", order=charge.order.order_id, customer=charge.order.customer_id,
              kind=kind, key=charge.key, attempt=charge.attempt, repeated=charge.is_repeated)

    def end(self, kind, charge):
        write(event="end", order=charge.order.order_id, customer=charge.order.customer_id,
              kind=kind, key=charge.key)

    async def charge(self, charge):
        return await self.ask("charge", charge)

    async def ask(self, kind, charge):
        if os.path.exists(AWAY):
            raise Unavailable("no route to it")
        self.begin(kind, charge)
        step = step_of(charge.order.order_id)
        try:
            if step == "hang":
                await asyncio.sleep(3600)
            if step.startswith("slow"):
                await asyncio.sleep(float(step[4:] or "1"))
                step = "paid"
            await asyncio.sleep(LATENCY)
            return answer(step, charge)
        finally:
            self.end(kind, charge)


class Blind(Base):
    """Declares neither keys nor a look-up."""


class Keyed(Base):
    idempotent = True


class Seen(Base):
    settles_within = 0.2

    async def lookup(self, charge):
        return await self.ask("lookup", charge)


class Both(Seen):
    idempotent = True


class Threaded:
    """The same for a plain function."""

    concurrent = idempotent = True

    def charge(self, charge):
        base = Base()
        base.begin("charge", charge)
        step = step_of(charge.order.order_id)
        if step == "hang":
            threading.Event().wait()
        threading.Event().wait(LATENCY)
        try:
            return answer(step, charge)
        finally:
            base.end("charge", charge)


class ThreadedSeen(Threaded):
    idempotent = False
    settles_within = 0.2

    def lookup(self, charge):
        Base().begin("lookup", charge)
        return answer(step_of(charge.order.order_id), charge)


class Undeclared(Threaded):
    concurrent = idempotent = False
'''


class Asked(NamedTuple):
    """A call as the gateway saw it begin."""

    order: str
    customer: str
    kind: str
    key: str
    attempt: int
    repeated: bool


def script(orderly: Orderly, gateway: str = "Keyed", *, latency: float = 0.0) -> None:
    """Have a command charge through the gateway, as what it declares."""
    (orderly.folder / "scripted.py").write_text(MODULE)
    orderly.environment |= {"PAYMENT_GATEWAY": f"scripted:{gateway}", "LATENCY": str(latency)}


def orders_file(folder: Path, orders: list[tuple[str, str]], *, amount: int = 100) -> Path:
    """Write orders, each an id and a customer, one a line."""
    path = folder / "orders.jsonl"
    lines = [json.dumps(order(name, customer, amount)) for name, customer in orders]
    path.write_text("\n".join(lines) + "\n")
    return path


def log(orderly: Orderly) -> list[dict[str, Any]]:
    """All that the gateway has written down."""
    path = orderly.folder / "calls.jsonl"
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text().splitlines()]


def asked(orderly: Orderly, order_id: str | None = None) -> list[Asked]:
    """The calls in the order in which they began, or those for one order."""
    return [
        Asked(*(each[name] for name in Asked._fields))
        for each in log(orderly)
        if each["event"] == "begin" and order_id in {None, each["order"]}
    ]


def assert_one_at_a_time(orderly: Orderly) -> int:
    """See that no customer had two calls out; return the most calls that were out at once."""
    out: dict[str, str] = {}
    most = 0
    for each in log(orderly):
        customer, order_id = each["customer"], each["order"]
        if each["event"] == "begin":
            assert out.get(customer, order_id) == order_id, f"{order_id} beside {out[customer]}"
            out[customer] = order_id
            most = max(most, len(out))
        elif out.get(customer) == order_id:
            del out[customer]
    return most


def assert_in_order(orderly: Orderly) -> None:
    """See that each customer's orders were first asked for in the order of the journal."""
    first: dict[str, list[str]] = {}
    for call in asked(orderly):
        names = first.setdefault(call.customer, [])
        if call.order not in names:
            names.append(call.order)
    accepted: dict[str, list[str]] = {}
    for line in orderly("journal").out.splitlines():
        found = json.loads(line)
        accepted.setdefault(found["customer_id"], []).append(found["order_id"])
    for customer, names in first.items():
        assert names == [each for each in accepted[customer] if each in set(names)], customer
