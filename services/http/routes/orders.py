"""Orders over HTTP: one by one, or many as a stream of lines."""

from __future__ import annotations

import json
import os
import time
import uuid
from typing import TYPE_CHECKING, Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import StreamingResponse
from starlette.requests import ClientDisconnect

from services.http.app import refusals
from services.http.bodies import JSON, read_body, refuse_longer, require_type
from services.http.idempotency import key_of
from services.http.models import EXAMPLE_ORDER, Receipt
from services.http.problems import Problem
from services.http.routes.bulk import MOST_BYTES, Bulk
from services.producer.group_commit import Overrun
from services.producer.sources.streams import LINE_BYTES
from shared.errors import InvalidOrder, LedgerUnavailable, LedgerUncertain, Reason
from shared.ledger.journal import Verdict
from shared.ledger.listing import statuses
from shared.schema import parse_order

if TYPE_CHECKING:
    from services.http.ledger_reader import LedgerReader
    from services.http.metrics import IntakeMetrics
    from services.producer.group_commit import GroupCommit
    from services.producer.intake import Intake
    from shared.schema import Order

_BULK_TYPES = {"application/x-ndjson", "application/ndjson", "application/jsonl"}
_EXAMPLE_LINES = '{"line":1,"order_id":"a-1","code":202}\n'
_ORDER_BODY = {
    "required": True,
    "content": {
        "application/json": {
            "schema": {"$ref": "#/components/schemas/NewOrder"},
            "examples": {"tea": {"summary": "two packets of tea", "value": EXAMPLE_ORDER}},
        }
    },
}
_KEY = {
    "name": "Idempotency-Key",
    "in": "header",
    "description": "the order's id, where the body has none: as it is, or in quotes",
    "schema": {"type": "string"},
    "example": "a-1",
}
_BULK_BODY = {
    "required": True,
    "description": "An Order a line; its order_id is required.",
    "content": {
        "application/x-ndjson": {
            "schema": {"type": "string"},
            "example": json.dumps(EXAMPLE_ORDER) + "\n",
        }
    },
}
_BULK_ANSWER = {
    "description": "An answer a line (BulkAnswer), in the order of the lines. A line without an "
    "answer was not accepted.",
    "content": {"application/x-ndjson": {"schema": {"type": "string"}, "example": _EXAMPLE_LINES}},
}
_LOCATION = {
    "Location": {
        "description": "where the order is",
        "required": True,
        "schema": {"type": "string"},
    }
}


_PLACE_ORDER: dict[str, Any] = {
    "status_code": 202,
    "response_model": Receipt,
    "summary": "Place an order",
    "responses": {
        202: {"description": "It is on disk, and will be paid.", "headers": _LOCATION},
        200: {
            "description": "It was accepted before: this is what has become of it.",
            "model": Receipt,
            "headers": _LOCATION,
        },
        **refusals(
            "conflict",
            "too-large",
            "not-json",
            "invalid-order",
            "invalid-request",
            "full",
            "ledger-unavailable",
            "outcome-unknown",
        ),
    },
    "openapi_extra": {"requestBody": _ORDER_BODY, "parameters": [_KEY]},
}
_PLACE_ORDERS: dict[str, Any] = {
    "response_class": Response,
    "summary": "Place many orders",
    "responses": {200: _BULK_ANSWER, **refusals("too-large", "not-json", "ledger-unavailable")},
    "openapi_extra": {"requestBody": _BULK_BODY},
}


class Orders:
    """The routes by which orders come in.

    Attributes:
        router: Both of them, as FastAPI and its OpenAPI document want them.
    """

    def __init__(
        self,
        group_commit: GroupCommit,
        intake: Intake,
        reader: LedgerReader,
        metrics: IntakeMetrics,
    ) -> None:
        self._group_commit = group_commit
        self._intake = intake
        self._reader = reader
        self._metrics = metrics
        self.router = APIRouter(tags=["orders"])
        self.router.post("/orders", **_PLACE_ORDER)(self.place_order)
        self.router.post("/orders/bulk", **_PLACE_ORDERS)(self.place_orders)

    async def place_order(self, request: Request) -> Response:
        """Send it again whenever the answer did not reach you: it is charged once."""
        started = time.perf_counter()
        require_type(request, JSON)
        body = await read_body(request, LINE_BYTES)
        try:
            order, canonical = _parse(body, request)
        except InvalidOrder as error:
            self._metrics.verdict("invalid")
            raise Problem("invalid-order", str(error), errors=error.reasons) from None
        try:
            (verdict,) = await self._group_commit.submit([self._intake.candidate(order, canonical)])
        except Overrun as error:
            self._metrics.verdict(Verdict.NO_ROOM)
            raise Problem("full", str(error)) from None
        except LedgerUncertain as error:
            self._metrics.verdict("unknown")
            raise _unknown(order.order_id, error) from None
        except LedgerUnavailable:
            self._metrics.verdict("unavailable")
            raise
        self._metrics.verdict(verdict, time.perf_counter() - started)
        return await _answer(order, verdict, self._reader)

    async def place_orders(self, request: Request) -> Response:
        """Lines are accepted as they arrive; while the pipeline is full no more are read.

        The answers come when the body has been read. Codes are those of single orders: 202, 200,
        409, 422, 503 or 504.
        """
        require_type(request, _BULK_TYPES)
        refuse_longer(request, MOST_BYTES)
        bulk = Bulk(self._group_commit, self._intake, self._metrics)
        try:
            await bulk.take(request.stream())
        except ClientDisconnect:
            bulk.close()
            raise Problem("malformed-request", "the connection ended in mid-body") from None
        except BaseException:
            bulk.close()
            raise
        return StreamingResponse(bulk.answers(), media_type="application/x-ndjson")


async def _answer(order: Order, verdict: Verdict, reader: LedgerReader) -> Response:
    order_id, status, code = order.order_id, "open", 202
    if verdict is Verdict.NO_ROOM:
        raise Problem("full")
    if verdict is Verdict.CONFLICT:
        raise Problem("conflict", f"order {order_id} was accepted before with other content")
    if verdict is Verdict.DUPLICATE:
        found = await reader.read(
            lambda connection: statuses(reader.ledger, connection, [order_id])
        )
        status, code = found[order_id], 200
    return Response(
        f'{{"order_id":"{order_id}","status":"{status}"}}',
        code,
        headers=_location(order_id),
        media_type="application/json",
    )


def _location(order_id: str) -> dict[str, str]:
    return {"location": f"/orders/{order_id}"}


def _unknown(order_id: str, error: LedgerUncertain) -> Problem:
    """Name the order, whose id its sender may not know: it was minted here if there was none."""
    detail = f"order {order_id} may be accepted, or not: {error}"
    return Problem("outcome-unknown", detail, headers=_location(order_id))


def _parse(body: bytes, request: Request) -> tuple[Order, bytes]:
    """Parse an order; where it has no id it gets the sender's key, or a new one.

    Raises:
        InvalidOrder: With the rules that it breaks.
        Problem: The key that it needs is none.
    """
    try:
        return parse_order(body)
    except InvalidOrder as error:
        if Reason("order_id", "is required") not in error.reasons:
            raise
        if len(error.reasons) > 1:
            others = [each for each in error.reasons if each.where != "order_id"]
            raise InvalidOrder(others) from None
    return parse_order(body, key_of(request) or str(uuid7()))


def uuid7() -> uuid.UUID:
    """Mint an id that sorts by time (RFC 9562, version 7)."""
    milliseconds = time.time_ns() // 1_000_000
    noise = int.from_bytes(os.urandom(10), "big")
    value = milliseconds << 80 | 0x7 << 76 | (noise >> 64 & 0xFFF) << 64
    return uuid.UUID(int=value | 0b10 << 62 | noise & (1 << 62) - 1)
