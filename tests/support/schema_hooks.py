"""What schemathesis has to be told about this service; it imports this module by its name."""

from __future__ import annotations

import json
import unicodedata
from typing import TYPE_CHECKING, Any

import schemathesis

if TYPE_CHECKING:
    from schemathesis import HookContext, SerializationContext


@schemathesis.serializer("application/x-ndjson")
def write_lines(_context: SerializationContext, value: Any) -> bytes:
    """Send a text as it is; whatever else is made up becomes a line of JSON."""
    text = value if isinstance(value, str) else json.dumps(value)
    return text.encode(errors="surrogatepass")


@schemathesis.hook
def map_body(_context: HookContext, body: Any) -> Any:
    """To JSON Schema 2.0 is an integer; to us it is not, and JSON Schema cannot say so."""
    if isinstance(body, dict):
        # What is generated has to be settled: few of them show as much.
        body = {**body, "orders": 1} if _is_generate_request(body) else body
        return {name: map_body(_context, value) for name, value in body.items()}
    if isinstance(body, list):
        return [map_body(_context, value) for value in body]
    return int(body) if isinstance(body, float) and body.is_integer() else body


@schemathesis.hook
def filter_body(_context: HookContext, body: Any) -> bool:
    """Leave out what breaks a rule that JSON Schema cannot say, and so passes for valid."""
    return _is_well_spelled(body) and not (
        isinstance(body, dict) and (_is_at_the_edge_of_time(body) or _is_beyond_price(body))
    )


def _is_generate_request(body: dict[str, Any]) -> bool:
    """Whether the generator would do it."""
    orders = body.get("orders")
    return isinstance(orders, int) and not isinstance(orders, bool) and 1 <= orders <= 10**6


def _is_well_spelled(body: Any) -> bool:
    r"""For ``[^\p{C}\p{Z}]`` it makes up such characters all the same, if they are not ASCII."""
    text = json.dumps(body, ensure_ascii=False, default=str)
    return all(each.isascii() or unicodedata.category(each)[0] not in "CZ" for each in text)


def _is_at_the_edge_of_time(order: dict[str, Any]) -> bool:
    """In UTC it may be in the year 0 or 10000."""
    return str(order.get("placed_at", "")).startswith(("0000", "0001-01-01", "9999-12-31"))


def _is_beyond_price(order: dict[str, Any]) -> bool:
    """The total must fit in 63 bits."""
    try:
        total = sum(item["quantity"] * item["unit_price"] for item in order["items"])
    except (KeyError, TypeError):
        return False
    return isinstance(total, int) and total >= 2**63
