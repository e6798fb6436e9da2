"""Breaking things on purpose, where CHAOS=1 allows it: to watch that nothing gets lost."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field

from services.http.app import refusals
from services.http.bodies import body_of, read_model
from services.http.models import Killed, PauseState
from services.http.problems import Problem
from shared.errors import QueueUnavailable
from shared.logs import Logger

if TYPE_CHECKING:
    from collections.abc import Iterator

    from services.http.ledger_reader import LedgerReader
    from services.pipeline.base import Pipeline

log = Logger("chaos")


class KillRequest(BaseModel):
    """Which worker to kill."""

    model_config = ConfigDict(
        extra="forbid", strict=True, json_schema_extra={"examples": [{"worker": "vm:4711"}]}
    )

    worker: Annotated[
        str | None, Field(max_length=160, description="host:pid, as /status has it; null is any")
    ] = None


def chaos_router(reader: LedgerReader, pipeline: Pipeline) -> APIRouter:
    """Make the routes that break things."""
    routes = APIRouter(prefix="/chaos", tags=["chaos"])

    @routes.post(
        "/kill",
        status_code=202,
        response_model=Killed,
        summary="Kill a worker, without a warning",
        responses=refusals(
            "unknown-worker",
            "too-large",
            "not-json",
            "invalid-request",
            "ledger-unavailable",
            "queue-unavailable",
        ),
        openapi_extra=body_of(KillRequest),
    )
    async def kill(http_request: Request) -> dict[str, Any]:
        """Its supervisor replaces it. In redis mode only a worker with CHAOS=1 obeys."""
        request = await read_model(http_request, KillRequest)

        def run() -> bool:
            with _refusing():
                return pipeline.kill_worker(request.worker)

        if not await reader.run(run):
            raise Problem("unknown-worker", f"there is no worker {request.worker or 'at all'}")
        log.warning("worker to be killed", worker=request.worker)
        return {"worker": request.worker}

    refused = refusals("queue-unavailable")

    async def set_paused(*, is_wanted: bool) -> dict[str, Any]:
        def run() -> None:
            with _refusing():
                pipeline.pause(is_wanted=is_wanted)

        await reader.run(run)
        log.warning("consumers paused" if is_wanted else "consumers resumed")
        return {"paused": is_wanted}

    @routes.post(
        "/pause", response_model=PauseState, responses=refused, summary="Pause the consumers"
    )
    async def pause() -> dict[str, Any]:
        """Orders are accepted all the same, up to MAX_PENDING."""
        return await set_paused(is_wanted=True)

    @routes.post(
        "/resume", response_model=PauseState, responses=refused, summary="Let consumers go on"
    )
    async def resume() -> dict[str, Any]:
        return await set_paused(is_wanted=False)

    return routes


@contextmanager
def _refusing() -> Iterator[None]:
    try:
        yield
    except QueueUnavailable as error:
        raise Problem("queue-unavailable", str(error)) from None
