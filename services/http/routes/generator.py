"""Orders on request: the generator behind the page's panel, one at a time."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field

from services.http.app import refusals
from services.http.bodies import body_of, read_model
from services.http.models import Generating
from services.http.problems import Problem
from services.producer.batcher import Batcher, at_rate
from services.producer.rejects import Rejects
from services.producer.sources import synthetic
from shared import clock
from shared.errors import OrderlyError
from shared.logs import Logger

if TYPE_CHECKING:
    from collections.abc import Callable

    from services.producer.intake import Intake
    from shared.ledger.ledger import Ledger

STOP_SECONDS = 5.0

log = Logger("generator")


class GenerateRequest(BaseModel):
    """How many orders, and how fast."""

    model_config = ConfigDict(
        extra="forbid",
        strict=True,
        json_schema_extra={"examples": [{"orders": 1000, "rate": 200}]},
    )

    orders: Annotated[int, Field(ge=1, le=1_000_000)]
    rate: Annotated[int, Field(ge=1, le=20_000, description="most orders per second")] = 1000
    seed: Annotated[
        int | None,
        Field(ge=0, le=10**15, description="the same orders again; without one they are new"),
    ] = None


class _Job:
    """One request, and how far it is."""

    def __init__(self, request: GenerateRequest, batcher: Batcher, stop: threading.Event) -> None:
        self.request = request
        self.batcher = batcher
        self.stop = stop
        self.error: str | None = None
        self.thread = threading.Thread(target=self._run, name="generator", daemon=True)

    @property
    def progress(self) -> dict[str, Any]:
        return {
            "orders": self.request.orders,
            "rate": self.request.rate,
            "made": self.batcher.created,
            "running": self.thread.is_alive(),
            "error": self.error,
        }

    def _run(self) -> None:
        # By the clock, to the millisecond: two requests share orders only where that is meant.
        seed = clock.now_us() // 1000 % 10**10 if self.request.seed is None else self.request.seed
        source = synthetic.orders(self.request.orders, seed)
        try:
            self.batcher.consume(at_rate(source, self.request.rate, self.stop))
        except OrderlyError as error:
            self.error = str(error)
            log.warning("generator ended", error=self.error)
        except Exception as error:  # a bug: whoever watches the generator should see that it ended
            self.error = f"{type(error).__name__}: {error}"
            log.exception("generator failed")


class Generator:
    """Generates orders through the intake that all others take, in a thread of its own.

    Args:
        ledger: Beside which it would write down what was rejected.
        new_intake: Makes an intake of its own, since each counts what it has written.

    Attributes:
        router: Its routes.
    """

    def __init__(self, ledger: Ledger, new_intake: Callable[[], Intake]) -> None:
        self._ledger = ledger
        self._new_intake = new_intake
        self._job: _Job | None = None
        self._is_closed = False
        self.router = APIRouter(tags=["generator"])
        self.router.post(
            "/generator",
            status_code=202,
            response_model=Generating,
            summary="Generate orders",
            responses=refusals(
                "generating", "too-large", "not-json", "invalid-request", "stopping"
            ),
            openapi_extra=body_of(GenerateRequest),
        )(self.begin)
        self.router.delete(
            "/generator", response_model=Generating, summary="Generate no more orders"
        )(self.end)

    @property
    def progress(self) -> dict[str, Any] | None:
        """How far the latest request is; None if there was none."""
        return None if self._job is None else self._job.progress

    async def begin(self, request: Request) -> dict[str, Any]:
        """They are accepted like all others; while the pipeline is full it waits."""
        wanted = await read_model(request, GenerateRequest)
        if self._is_closed:
            raise Problem("stopping")
        if self._job is not None and self._job.thread.is_alive():
            raise Problem("generating")
        stop = threading.Event()
        rejects = Rejects(
            self._ledger.database.backend.beside("generator-rejects.jsonl"), is_wanted=False
        )
        self._job = _Job(wanted, Batcher(self._new_intake(), rejects, stop), stop)
        self._job.thread.start()
        return self._job.progress

    async def end(self) -> dict[str, Any]:
        """What was generated stays accepted."""
        if self._job is None:
            return {"orders": 0, "rate": 0, "made": 0, "running": False, "error": None}
        self._job.stop.set()
        return self._job.progress

    def close(self) -> None:
        """End, and begin nothing more."""
        self._is_closed = True
        if self._job is not None:
            self._job.stop.set()
            if self._job.thread.is_alive():
                self._job.thread.join(STOP_SECONDS)
