"""Two hundred clients at once, while workers and the service itself are killed under them."""

from __future__ import annotations

import asyncio
import json
import random
import signal
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from tests.support.orderly import kill
from tests.support.replay import read_journal
from tests.support.server import NDJSON, Server, answers, lines

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tests.support.orderly import Orderly

    Order = dict[str, Any]

CLIENTS = 200
EACH = 12
PACK = 4
AGAIN = {429, 503}


def order(order_id: str, customer_id: str, price: int) -> Order:
    return {
        "order_id": order_id,
        "customer_id": customer_id,
        "currency": "EUR",
        "placed_at": "2026-01-31T09:30:00Z",
        "items": [{"sku": "tea", "quantity": 1, "unit_price": price}],
    }


@dataclass
class Count:
    """What the clients were told, all of them together."""

    codes: Counter[int] = field(default_factory=Counter)
    accepted: dict[str, Order] = field(default_factory=dict)
    acknowledged: int = 0
    resent: int = 0

    def told(self, code: int, sent: Order) -> None:
        self.codes[code] += 1
        self.acknowledged += 1
        if code == 409:
            return
        assert code in {200, 202}, code
        before = self.accepted.setdefault(sent["order_id"], sent)
        assert before == sent, "two contents were accepted under one id"


class Client:
    """Sends its orders one after another, each until it knows what became of it."""

    def __init__(self, http: httpx.AsyncClient, url: str, count: Count) -> None:
        self._http = http
        self._url = url
        self._count = count

    async def one_by_one(self, orders: list[Order]) -> None:
        for each in orders:
            answer = await self._insist("/orders", json.dumps(each).encode(), "application/json")
            self._count.told(answer.status_code, each)

    async def in_packs(self, orders: list[Order]) -> None:
        for start in range(0, len(orders), PACK):
            left = orders[start : start + PACK]
            while left:
                answer = await self._insist("/orders/bulk", lines(left), NDJSON["content-type"])
                codes = {line["line"]: line["code"] for line in answers(answer.content)}
                unanswered = []
                for number, each in enumerate(left, 1):
                    code = codes.get(number, 503)
                    if code in AGAIN:
                        unanswered.append(each)
                    else:
                        self._count.told(code, each)
                self._count.resent += len(unanswered)
                left = unanswered

    async def _insist(self, path: str, body: bytes, content_type: str) -> httpx.Response:
        while True:
            try:
                answer = await self._http.post(
                    self._url + path, content=body, headers={"content-type": content_type}
                )
            except httpx.TransportError:
                await asyncio.sleep(random.uniform(0.2, 0.8))
            else:
                if answer.status_code not in AGAIN:
                    return answer
                await asyncio.sleep(0.05)
            self._count.resent += 1


def plan(chance: random.Random) -> list[list[Order]]:
    """Write every client's orders: its own, some again, some of others, some with a clash."""
    own = [
        [order(f"o-{client}-{n}", f"c-{client}", chance.randrange(20_000)) for n in range(EACH)]
        for client in range(CLIENTS)
    ]
    plans = []
    for client, orders in enumerate(own):
        mine = list(orders)
        mine.insert(EACH // 2, chance.choice(orders[: EACH // 2]))
        mine.append(chance.choice(own[(client + 1) % CLIENTS]))
        mine.append(order(f"o-{(client + 2) % CLIENTS}-{chance.randrange(EACH)}", "thief", 1))
        plans.append(mine)
    return plans


def dedupe(orders: list[Order]) -> list[Order]:
    return list({each["order_id"]: each for each in orders}.values())


async def chaos(server: Server, count: Count, chance: random.Random) -> None:
    """Kill workers, and the service with all of them, as the clients get on."""
    whole = CLIENTS * (EACH + 3)

    async def reach(share: float) -> None:
        async with asyncio.timeout(60):
            while count.acknowledged < whole * share:  # noqa: ASYNC110  it is the clients' count
                await asyncio.sleep(0.005)

    async def one_worker() -> None:
        kill(chance.choice(server.workers))

    async def the_service() -> None:
        kill(server.pid)
        await asyncio.to_thread(server.wait)
        await asyncio.to_thread(server.start, port=server.port)

    strokes: list[Callable[[], Awaitable[None]]] = [
        one_worker,
        the_service,
        one_worker,
        one_worker,
        the_service,
        one_worker,
    ]
    for number, stroke in enumerate(strokes, 1):
        await reach(number / (len(strokes) + 1))
        await stroke()


async def load(server: Server, plans: list[list[Order]]) -> Count:
    count = Count()

    async def run(number: int, orders: list[Order]) -> None:
        # A pool for each: one that two hundred share would search itself half of the time.
        async with httpx.AsyncClient(timeout=30, trust_env=False, verify=False) as http:  # noqa: S501
            client = Client(http, f"http://127.0.0.1:{server.port}", count)
            await (client.in_packs if number % 2 else client.one_by_one)(orders)

    async with asyncio.TaskGroup() as group:
        for number, orders in enumerate(plans):
            group.create_task(run(number, orders))
        group.create_task(chaos(server, count, random.Random(5)))
    return count


@pytest.mark.long
def test_whatever_dies_each_order_is_accepted_and_settled_once(orderly: Orderly) -> None:
    server = Server(orderly)
    try:
        server.start()
        plans = plan(random.Random(4))
        count = asyncio.run(load(server, plans))
        ended = server.stop(signal.SIGTERM)
    finally:
        server.close()
    assert ended.code == 0, ended.err
    assert count.resent > 0, "the kills were not felt"
    assert ended.err.count("worker replaced") >= 3

    # What the clients were told is what the ledger holds.
    accepted = read_journal(orderly("journal").out)
    assert {each["order_id"]: each for each in accepted} == count.accepted
    assert len(accepted) == len(count.accepted) == CLIENTS * EACH
    assert count.codes[202] <= len(accepted)
    assert count.codes[202] + count.codes[200] + count.codes[409] == CLIENTS * (EACH + 3)
    assert count.codes[409] > 0
    totals = orderly.totals()
    assert (totals["created"], totals["open"]) == (len(accepted), 0)

    # Each customer's orders are in the order in which it sent them, if nobody else sent one too.
    senders = Counter(each["order_id"] for orders in plans for each in dedupe(orders))
    for orders in plans:
        own = [each["order_id"] for each in dedupe(orders) if senders[each["order_id"]] == 1]
        assert len(own) > EACH // 2
        assert [each["order_id"] for each in accepted if each["order_id"] in own] == own
    orderly.assert_serial()
