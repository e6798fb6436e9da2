"""What the answers look like: the models that OpenAPI describes them by."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from shared.schema import Order

Status = Literal["open", "paid", "declined", "dead"]
Amounts = Annotated[dict[str, int], Field(description="minor units, by currency")]

EXAMPLE_ORDER: dict[str, Any] = {
    "order_id": "a-1",
    "customer_id": "ada",
    "currency": "EUR",
    "placed_at": "2026-01-31T09:30:00+01:00",
    "items": [{"sku": "tea", "quantity": 2, "unit_price": 350}],
}


class _Answer(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Receipt(_Answer):
    """What an order's sender gets."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"order_id": "a-1", "status": "open"}]}
    )

    order_id: str
    status: Status


class _Placed(_Answer):
    """An order that was accepted, and where it stands."""

    order_id: str
    customer_id: str
    status: Status
    total: Annotated[int, Field(description="minor units")]
    currency: str
    partition: int
    number: int
    attempts: int


class Listed(_Placed):
    """An order in a list."""

    reason: str | None
    accepted_at: str
    settled_at: str | None


class OrderPage(_Answer):
    """Some orders, the latest first."""

    orders: list[Listed]
    next: Annotated[str | None, Field(description="the cursor of the next page, if there is one")]


class Transfer(_Answer):
    """Money that moved."""

    debit: str
    credit: str
    amount: Annotated[int, Field(description="minor units")]
    currency: str
    at: str


class Event(_Answer):
    """Something that happened to an order."""

    at: str
    event: Literal["accepted", "failed", "paid", "declined", "dead", "retried", "discarded"]
    number: int | None = None
    run_id: str | None = None
    attempts: int | None = None
    attempt: int | None = None
    reason: str | None = None
    worker: str | None = None


class Story(_Placed):
    """One order's whole story."""

    transfers: list[Transfer]
    history: list[Event]


class Totals(_Answer):
    """Orders by what became of them: ``created == paid + declined + dead + open``."""

    created: int
    paid: int
    declined: int
    dead: int
    open: int
    paid_amount: Amounts


class Worker(_Answer):
    """A payment worker; times in microseconds since 1970."""

    worker: str
    run_id: str
    slot: int
    host: str
    pid: int
    state: str
    queue_depth: int
    restarts: int
    settled: int
    started_at: int
    seen_at: int
    partition: Annotated[int | None, Field(description="worked on, now or last")]
    calls_out: Annotated[int, Field(description="calls to an outside gateway that are out")]


class LedgerStatus(Totals):
    """The whole ledger's totals, and who is at work; ``queue_trouble`` is why Redis is away."""

    mode: Literal["local", "redis"]
    ledger: str
    workers: list[Worker]
    queue_depth: int
    queue_trouble: str | None
    gateway: Annotated[str | None, Field(description="the outside gateway, if there is one")]
    gateway_away: Annotated[bool, Field(description="whether it does not answer")]
    calls_out: Annotated[int, Field(description="calls to it that are out")]
    in_doubt: Annotated[int, Field(description="open orders that may be charged; nobody knows")]


class Violation(_Answer):
    """A rule that the ledger breaks."""

    check: str
    where: str
    message: str


class Proof(Totals):
    """What verification found; ``ok`` also while orders are open."""

    ok: bool
    violations: list[Violation]


class Health(_Answer):
    """Whether the process, or the service, is well; why Redis is away, if it is."""

    status: Literal["ok", "ready"]
    queue_trouble: str | None = None


class Discarded(_Answer):
    """A dead order that was marked as dealt with; ``discarded`` is false if it was before."""

    order_id: str
    status: Status
    discarded: bool


class Retried(_Answer):
    """Dead orders that were opened again."""

    retried: Annotated[int, Field(ge=0)]
    in_doubt: Annotated[int, Field(ge=0, description="left dead, since they may be charged")]


class Generating(_Answer):
    """How far the generator is; ``made`` are orders that were accepted."""

    orders: int
    rate: int
    made: int
    running: bool
    error: str | None


class Killed(_Answer):
    """The worker that was named, null if none was."""

    worker: str | None


class PauseState(_Answer):
    """Whether the consumers are paused."""

    paused: bool


def _components() -> dict[str, Any]:
    """Schemas that no model of an answer brings along."""
    order = Order.model_json_schema(ref_template="#/components/schemas/{model}")
    parts = order.pop("$defs")
    new = {
        **order,
        "title": "NewOrder",
        "description": "An order; where it has no order_id, the header Idempotency-Key is its id, "
        "and where there is neither, one is minted.",
        "required": [name for name in order["required"] if name != "order_id"],
        "examples": [EXAMPLE_ORDER],
    }
    text = {"type": "string"}
    return {
        **parts,
        "Order": order,
        "NewOrder": new,
        "BulkAnswer": {
            "title": "BulkAnswer",
            "description": "What became of a line.",
            "type": "object",
            "required": ["line", "order_id", "code"],
            "properties": {
                "line": {"type": "integer", "minimum": 1},
                "order_id": {"type": ["string", "null"]},
                "code": {"enum": [202, 200, 409, 422, 503, 504]},
                "error": text,
                "skipped": {
                    "type": "integer",
                    "minimum": 1,
                    "description": "in the last answer to a body of which more was refused than "
                    "accepted: this line, and those after it, that were not looked at",
                },
            },
            "examples": [{"line": 1, "order_id": "a-1", "code": 202}],
        },
        "Problem": {
            "title": "Problem",
            "description": "Why a request was refused (RFC 9457).",
            "type": "object",
            "required": ["type", "title", "status", "detail", "request_id"],
            "properties": {
                "type": {**text, "description": "a path that describes this kind of problem"},
                "title": text,
                "status": {"type": "integer"},
                "detail": text,
                "request_id": text,
                "errors": {
                    "type": "array",
                    "items": {
                        "type": "object",
                        "required": ["where", "rule", "value"],
                        "properties": {"where": text, "rule": text, "value": text},
                    },
                },
            },
        },
    }


COMPONENTS = _components()
