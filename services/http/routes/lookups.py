"""What can be asked about orders, the ledger and this service."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, Depends, Path, Query, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST

from services.http.app import refusals
from services.http.bodies import while_there
from services.http.models import (
    Health,
    LedgerStatus,
    OrderPage,
    Proof,
    Status,
    Story,
)
from services.http.problems import Problem
from shared.errors import Reason
from shared.ids import ID_LENGTH, ID_PATTERN
from shared.ledger.explain import explain
from shared.ledger.listing import list_orders, parse_cursor
from shared.ledger.status import read_status
from shared.texts import legible

if TYPE_CHECKING:
    from collections.abc import Callable

    import sqlalchemy as sa

    from services.http.ledger_reader import LedgerReader
    from services.http.metrics import Metrics
    from services.http.verifier import Verifier
    from shared.ledger.explain import Story as OrderStory
    from shared.settings import Settings

OrderId = Annotated[
    str,
    Path(
        pattern=ID_PATTERN,
        min_length=1,
        max_length=ID_LENGTH,
        description="as it was accepted",
        examples=["a-1"],
    ),
]


def _refuse_unknown(request: Request) -> None:
    """Refuse a parameter that the route has not: mistyped, it would narrow nothing."""
    known = [each.alias for each in request.scope["route"].dependant.query_params]
    for name in request.query_params:
        if name not in known:
            reason = Reason(f"query.{legible(name, 60)}", f"is none of {', '.join(known)}")
            raise Problem("invalid-request", str(reason), errors=[reason])


def orders_router(reader: LedgerReader) -> APIRouter:
    """Make the routes that look orders up."""
    routes = APIRouter(tags=["orders"])
    ledger = reader.ledger

    @routes.get(
        "/orders",
        response_model=OrderPage,
        summary="List orders, the latest first",
        responses=refusals("ledger-unavailable", "invalid-request"),
        dependencies=[Depends(_refuse_unknown)],
    )
    async def list_(
        status: Annotated[Status | None, Query(description="only these")] = None,
        order_id: Annotated[
            str | None, Query(pattern=ID_PATTERN, description="only this one")
        ] = None,
        customer_id: Annotated[
            str | None,
            Query(pattern=ID_PATTERN, description="only this customer's"),
        ] = None,
        cursor: Annotated[
            str | None,
            Query(
                pattern=r"^[0-9]{1,18}-[0-9]{1,4}-[0-9]{1,18}$",
                description="the page before this one said it in next",
            ),
        ] = None,
        limit: Annotated[int, Query(ge=1, le=500, description="most orders in a page")] = 50,
    ) -> dict[str, Any]:
        def look(connection: sa.Connection) -> dict[str, Any]:
            page = list_orders(
                ledger,
                connection,
                status=status,
                order_id=order_id,
                customer_id=customer_id,
                after=parse_cursor(cursor) if cursor else None,
                limit=limit,
            )
            return {"orders": page.orders, "next": str(page.after) if page.after else None}

        return await reader.read(look)

    @routes.get(
        "/orders/{order_id}",
        response_model=Story,
        response_model_exclude_unset=True,
        summary="Tell one order's whole story",
        responses=refusals("unknown-order", "ledger-unavailable", "invalid-request"),
    )
    async def story(order_id: OrderId) -> OrderStory:
        found = await reader.read(lambda connection: explain(connection, order_id))
        if found is None:
            raise Problem("unknown-order", f"order {order_id} was never accepted")
        return found

    return routes


def ledger_router(
    settings: Settings,
    reader: LedgerReader,
    verifier: Verifier,
    queue_trouble: Callable[[], str | None],
) -> APIRouter:
    """Make the routes about the whole ledger.

    Args:
        settings: The mode.
        reader: The ledger.
        verifier: What proves it.
        queue_trouble: Says why the queue's server does not carry, if so.
    """
    routes = APIRouter(tags=["ledger"])

    @routes.get(
        "/status",
        response_model=LedgerStatus,
        summary="Count the orders by what became of them",
        responses=refusals("ledger-unavailable"),
    )
    async def status() -> dict[str, Any]:
        report = await reader.read(
            lambda connection: read_status(settings, reader.ledger, connection)
        )
        return report.with_trouble(queue_trouble()).as_dict()

    @routes.get(
        "/verify",
        response_model=Proof,
        summary="Prove the ledger, from journal and transfers",
        responses=refusals("ledger-unavailable", "too-many-proofs"),
    )
    async def verify(request: Request) -> Response:
        """Takes about 30 microseconds an order, in a process of its own.

        One runs at a time, and ends if nobody waits for it any more. Those who ask meanwhile share
        the next one. With API_TOKEN set it needs the token.
        """
        proof = await while_there(request, verifier.prove())
        return Response(proof, media_type="application/json")

    return routes


def service_router(
    reader: LedgerReader,
    metrics: Metrics,
    trouble: Callable[[], Problem | None],
    queue_trouble: Callable[[], str | None],
) -> APIRouter:
    """Make the routes about this service.

    Args:
        reader: The ledger.
        metrics: What is scraped.
        trouble: Says what keeps the service from taking orders in, if anything does.
        queue_trouble: Says why the queue's server does not carry, if so; orders are taken in.
    """
    routes = APIRouter(tags=["service"])

    @routes.get(
        "/healthz",
        response_model=Health,
        response_model_exclude_unset=True,
        summary="Whether the process is alive",
    )
    async def healthz() -> dict[str, str]:
        return {"status": "ok"}

    @routes.get(
        "/readyz",
        response_model=Health,
        response_model_exclude_unset=True,
        summary="Whether orders can be taken in",
        responses=refusals("ledger-unavailable", "stopping"),
    )
    async def readyz() -> dict[str, str]:
        if (problem := trouble()) is not None:
            raise problem
        away = queue_trouble()
        return {"status": "ready"} | ({"queue_trouble": away} if away else {})

    @routes.get(
        "/metrics",
        response_class=Response,
        summary="Metrics for Prometheus",
        responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}},
    )
    async def scrape() -> Response:
        text = await reader.run(metrics.text)
        return Response(text, headers={"content-type": CONTENT_TYPE_LATEST})

    return routes
