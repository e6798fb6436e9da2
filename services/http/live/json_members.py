"""JSON objects put together from members that were written before: long ones change seldom."""

from __future__ import annotations

import json
from typing import Any


def members_of(fields: dict[str, Any]) -> str:
    """Write the members of an object, without its braces."""
    return ",".join([f"{json.dumps(name)}:{_write(value)}" for name, value in fields.items()])


def object_of(*members: str) -> str:
    """Make one object of members that were written."""
    return f"{{{','.join(filter(None, members))}}}"


def _write(value: object) -> str:
    return json.dumps(value, separators=(",", ":"))
