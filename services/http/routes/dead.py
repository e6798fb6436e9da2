"""What is decided about dead orders: retry or discard."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, Query

from services.http.app import refusals
from services.http.models import Discarded, Receipt, Retried
from services.http.problems import Problem
from services.http.routes.lookups import OrderId  # noqa: TC001  FastAPI reads it
from shared.ledger import dead
from shared.ledger.dead_letters import DeadLetter, dead_letters
from shared.ledger.listing import statuses
from shared.ledger.resolutions import REFERENCE_LENGTH

if TYPE_CHECKING:
    from collections.abc import Callable

    from services.http.ledger_reader import LedgerReader
    from shared.queue.port import OrderQueue
    from shared.schema import Message

_REFUSALS = (
    "unknown-order",
    "not-dead",
    "ledger-unavailable",
    "outcome-unknown",
    "invalid-request",
)


class _Decisions:
    """Looks for dead orders, and decides about them."""

    def __init__(self, reader: LedgerReader, queue: OrderQueue) -> None:
        self._reader = reader
        self._queue = queue
        self.ledger = reader.ledger

    async def decide(self, order_id: str, decision: Callable[[DeadLetter], bool]) -> bool:
        """Look for the dead order, and decide about it; False if somebody else did meanwhile."""

        def run() -> bool:
            with self.ledger.database.read() as connection:
                letters = dead_letters(connection, [order_id])
                present = statuses(self.ledger, connection, [order_id]).get(order_id)
            if present is None:
                raise Problem("unknown-order", f"order {order_id} was never accepted")
            if not letters:
                raise Problem("not-dead", f"order {order_id} is {present}")
            return decision(letters[0])

        return await self._reader.run(run)

    async def retry_all(self) -> dict[str, int]:
        """Open all again about which nobody has to be asked first."""

        def run() -> dict[str, int]:
            messages, _, in_doubt = dead.retry_all(self.ledger)
            self._queue.put(messages)
            return {"retried": len(messages), "in_doubt": in_doubt}

        return await self._reader.run(run)

    def open_again(self, messages: list[Message]) -> bool:
        """Have what was opened settled; say whether that was anything."""
        self._queue.put(messages)
        return bool(messages)


def dead_router(reader: LedgerReader, queue: OrderQueue) -> APIRouter:
    """Make the routes that decide about dead orders."""
    routes = APIRouter(tags=["orders"])
    decisions = _Decisions(reader, queue)
    ledger, decide, open_again = decisions.ledger, decisions.decide, decisions.open_again

    @routes.post(
        "/orders/{order_id}/retry",
        status_code=202,
        response_model=Receipt,
        summary="Open a dead order again",
        responses=refusals(*_REFUSALS, "in-doubt"),
    )
    async def retry(
        order_id: OrderId,
        *,
        not_charged: Annotated[
            bool, Query(description="the backend has not charged it, though it is in doubt")
        ] = False,
    ) -> dict[str, Any]:
        """It is settled at the end of its partition. Two retries at once count as one."""

        def decision(letter: DeadLetter) -> bool:
            if letter.doubtful_since is not None and not not_charged:
                raise Problem("in-doubt", f"order {order_id} is dead, {letter.reason}")
            return open_again(dead.retry(ledger, [letter], not_charged=not_charged))

        await decide(order_id, decision)
        return {"order_id": order_id, "status": "open"}

    @routes.post(
        "/orders/{order_id}/settle",
        status_code=202,
        response_model=Receipt,
        summary="Have a dead order paid that the backend has charged",
        responses=refusals(*_REFUSALS),
    )
    async def settle(
        order_id: OrderId,
        charged: Annotated[
            str,
            Query(
                min_length=1,
                max_length=REFERENCE_LENGTH,
                pattern=r"^[^\s\x00-\x1f]([^\x00-\x1f]*[^\s\x00-\x1f])?$",
                description="what the backend calls the charge",
            ),
        ],
    ) -> dict[str, Any]:
        """It is paid at the end of its partition, without another call."""
        await decide(
            order_id, lambda letter: open_again(dead.settle_charged(ledger, letter, charged))
        )
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
        """Those that were marked as dealt with stay dead, and those that are in doubt."""
        return await decisions.retry_all()

    return routes
