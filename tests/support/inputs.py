"""Inputs of orders as bytes, and what a reader makes of them."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from services.producer.sources.csv_orders import HEADER
from services.producer.sources.files import Input
from services.producer.sources.source import Accepted, CutOff, Rejected

if TYPE_CHECKING:
    from pathlib import Path

    from shared.schema import Order

TIME = "2026-01-31T09:30:00Z"
MAX_LINE = 1024 * 1024


def row(
    order_id: str = "o1",
    *,
    customer: str = "c1",
    currency: str = "USD",
    at: str = TIME,
    sku: str = "S-1",
    quantity: str = "1",
    price: str = "1.50",
) -> str:
    return f"{order_id},{customer},{currency},{at},{sku},{quantity},{price}"


def csv_of(*rows: str, end: str = "\n") -> bytes:
    return "".join(f"{line}{end}" for line in (HEADER, *rows)).encode()


def order(order_id: object = "o1", **fields: Any) -> dict[str, Any]:
    plain = {
        "order_id": order_id,
        "customer_id": "c1",
        "currency": "USD",
        "placed_at": TIME,
        "items": [{"sku": "S-1", "quantity": 1, "unit_price": 150}],
    }
    return plain | fields


def item(**fields: Any) -> dict[str, Any]:
    return order(items=[{"sku": "S-1", "quantity": 1, "unit_price": 150} | fields])


def line(order_id: object = "o1", **fields: Any) -> str:
    return json.dumps(order(order_id, **fields)) + "\n"


def jsonl_of(*orders: dict[str, Any]) -> bytes:
    return "".join(f"{json.dumps(each)}\n" for each in orders).encode()


@dataclass
class Found:
    """What an input held."""

    accepted: list[Order] = field(default_factory=list)
    rejected: list[Rejected] = field(default_factory=list)
    cut: CutOff | None = None
    notes: list[str] = field(default_factory=list)
    problem: str | None = None

    @property
    def ids(self) -> list[str]:
        return [each.order_id for each in self.accepted]

    @property
    def rejected_ids(self) -> list[str | None]:
        return [each.order_id for each in self.rejected]

    @property
    def why(self) -> list[str]:
        return [str(reason) for each in self.rejected for reason in each.reasons]


def collect(source: Input) -> Found:
    found = Found()
    try:
        for incoming in source.orders():
            if isinstance(incoming, Accepted):
                found.accepted.append(incoming.order)
            elif isinstance(incoming, Rejected):
                found.rejected.append(incoming)
    except CutOff as cut:
        found.cut = cut
    finally:
        source.close()
    found.notes = source.notes.to_tell("it")
    found.problem = next(iter(source.notes.problems("it")), None)
    return found


@dataclass
class Reader:
    """Reads bytes as a file of a certain name."""

    folder: Path

    def __call__(self, content: bytes, name: str = "orders.csv") -> Found:
        path = self.folder / name
        path.write_bytes(content)
        return collect(Input(str(path), wake=-1))

    def pipe(self, content: bytes) -> Found:
        """Read bytes that come through a pipe, which has room for few."""
        reading, writing = os.pipe()
        wake, waker = os.pipe()
        os.write(writing, content)
        os.close(writing)
        try:
            return collect(Input(f"/dev/fd/{reading}", wake))
        finally:
            for descriptor in (reading, wake, waker):
                os.close(descriptor)
