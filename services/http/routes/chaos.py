"""Breaking things on purpose, where CHAOS=1 allows it: to watch that nothing gets lost."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any, Protocol

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field

from services.http.app import refusals
from services.http.bodies import body_of, read_model
from services.http.models import Held, Killed
from services.http.problems import Problem
from shared.errors import QueueUnavailable
from shared.logs import Logger

if TYPE_CHECKING:
    from collections.abc import Iterator

    from services.http.ledger_reader import Reading

log = Logger("chaos")


class Pipeline(Protocol):
    """What can be done to the pipeline."""

    def pause(self, *, is_wanted: bool) -> None:
        """Have the consumers rest, or go on."""

    def kill_worker(self, name: str | None) -> bool:
        """Have a worker killed, or any one; say whether there is such a worker."""


class Victim(BaseModel):
    """Who shall die."""

    model_config = ConfigDict(
        extra="forbid", strict=True, json_schema_extra={"examples": [{"worker": "vm:4711"}]}
    )

    worker: Annotated[
        str | None, Field(max_length=160, description="host:pid, as /status has it; null is any")
    ] = None


def chaos_router(reading: Reading, pipeline: Pipeline) -> APIRouter:
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
        openapi_extra=body_of(Victim),
    )
    async def kill(request: Request) -> dict[str, Any]:
        """Its supervisor replaces it. In redis mode only a worker with CHAOS=1 obeys."""
        victim = await read_model(request, Victim)

        def run() -> bool:
            with _refusing():
                return pipeline.kill_worker(victim.worker)

        if not await reading.run(run):
            raise Problem("unknown-worker", f"there is no worker {victim.worker or 'at all'}")
        log.warning("worker to be killed", worker=victim.worker)
        return {"worker": victim.worker}

    refused = refusals("queue-unavailable")

    async def hold(*, is_wanted: bool) -> dict[str, Any]:
        def run() -> None:
            with _refusing():
                pipeline.pause(is_wanted=is_wanted)

        await reading.run(run)
        log.warning("consumers paused" if is_wanted else "consumers resumed")
        return {"paused": is_wanted}

    @routes.post("/pause", response_model=Held, responses=refused, summary="Have consumers rest")
    async def pause() -> dict[str, Any]:
        """Orders are accepted all the same, up to MAX_PENDING."""
        return await hold(is_wanted=True)

    @routes.post("/resume", response_model=Held, responses=refused, summary="Let consumers go on")
    async def resume() -> dict[str, Any]:
        return await hold(is_wanted=False)

    return routes


@contextmanager
def _refusing() -> Iterator[None]:
    try:
        yield
    except QueueUnavailable as error:
        raise Problem("queue-unavailable", str(error)) from None
