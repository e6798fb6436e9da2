"""What is decided about dead orders: retry or discard."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastapi import APIRouter

from services.http.app import refusals
from services.http.models import Discarded, Receipt, Retried
from services.http.problems import Problem
from services.http.routes.lookups import OrderId  # noqa: TC001  FastAPI reads it
from shared.ledger import dead
from shared.ledger.dead_letters import DeadLetter, dead_letters
from shared.ledger.listing import statuses

if TYPE_CHECKING:
    from collections.abc import Callable

    from services.http.ledger_reader import LedgerReader
    from shared.queue.port import OrderQueue

_REFUSALS = (
    "unknown-order",
    "not-dead",
    "ledger-unavailable",
    "outcome-unknown",
    "invalid-request",
)


def dead_router(reader: LedgerReader, queue: OrderQueue) -> APIRouter:
    """Make the routes that decide about dead orders."""
    routes = APIRouter(tags=["orders"])
    ledger = reader.ledger

    async def decide(order_id: str, decision: Callable[[DeadLetter], bool]) -> bool:
        """Look for the dead order, and decide about it; False if somebody else did meanwhile."""

        def run() -> bool:
            with ledger.database.read() as connection:
                letters = dead_letters(connection, [order_id])
                present = statuses(ledger, connection, [order_id]).get(order_id)
            if present is None:
                raise Problem("unknown-order", f"order {order_id} was never accepted")
            if not letters:
                raise Problem("not-dead", f"order {order_id} is {present}")
            return decision(letters[0])

        return await reader.run(run)

    @routes.post(
        "/orders/{order_id}/retry",
        status_code=202,
        response_model=Receipt,
        summary="Open a dead order again",
        responses=refusals(*_REFUSALS),
    )
    async def retry(order_id: OrderId) -> dict[str, Any]:
        """It is settled at the end of its partition. Two retries at once count as one."""

        def decision(letter: DeadLetter) -> bool:
            messages = dead.retry(ledger, [letter])
            queue.put(messages)
            return bool(messages)

        await decide(order_id, decision)
        return {"order_id": order_id, "status": "open"}

    @routes.post(
        "/orders/{order_id}/discard",
        response_model=Discarded,
        summary="Mark a dead order as dealt with",
        responses=refusals(*_REFUSALS),
    )
    async def discard(order_id: OrderId) -> dict[str, Any]:
        """It stays dead, and stays counted as dead."""
        marked = await decide(order_id, lambda letter: bool(dead.discard(ledger, [letter])))
        return {"order_id": order_id, "status": "dead", "discarded": marked}

    @routes.post(
        "/dead/retry",
        status_code=202,
        response_model=Retried,
        summary="Open every dead order again",
        responses=refusals("ledger-unavailable", "outcome-unknown"),
    )
    async def retry_all() -> dict[str, Any]:
        """Those that were marked as dealt with stay dead."""

        def run() -> int:
            messages = dead.retry_all(ledger).messages
            queue.put(messages)
            return len(messages)

        return {"retried": await reader.run(run)}

    return routes
