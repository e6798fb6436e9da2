"""The header Idempotency-Key: the id of an order that has none of its own."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from services.http.problems import Problem
from shared.errors import Reason
from shared.ids import ID_LENGTH, ID_PATTERN, ID_WORDS
from shared.texts import shown

if TYPE_CHECKING:
    from fastapi import Request

_QUOTED = re.compile(
    r'"((?:[ !#-\[\]-~]|\\["\\])*)"'  # a string of structured fields (RFC 8941)
    r'(?:[ ]*;[ ]*[a-z*][a-z0-9_.*-]*(?:=(?:[^ ;"]+|"(?:[^"\\]|\\.)*"))?)*'  # and its parameters
)
_RULE = (
    f"must have 1 to {ID_LENGTH} of {ID_WORDS}, quoted or not, because it becomes the order_id; "
    "beside an order_id any key will do"
)


def key_of(request: Request) -> str | None:
    """Read the key as the draft standard writes it, in quotes, or as it is.

    Raises:
        Problem: It cannot be an order's id.
    """
    keys = request.headers.getlist("idempotency-key")
    if not keys:
        return None
    if len(set(keys)) > 1:
        raise _refusal("must be one", ", ".join(keys))
    match = _QUOTED.fullmatch(keys[0])
    key = re.sub(r"\\(.)", r"\1", match[1]) if match else keys[0]
    if not re.fullmatch(ID_PATTERN, key):
        raise _refusal(_RULE, keys[0])
    return key


def _refusal(rule: str, given: str) -> Problem:
    reason = Reason("header.idempotency-key", rule, shown(given, 70))
    return Problem("invalid-request", str(reason), errors=[reason])
