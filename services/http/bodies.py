"""Reading the body of a request: of the right type, and no longer than it should be."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import BaseModel, ValidationError
from starlette.requests import ClientDisconnect

from services.http.problems import Problem
from shared.errors import Reason
from shared.texts import shown

if TYPE_CHECKING:
    from fastapi import Request

M = TypeVar("M", bound=BaseModel)

JSON = {"application/json"}
SHORT = 4096
"""Bytes that are enough for a wish of a few fields."""


def require_type(request: Request, types: set[str]) -> None:
    """Insist on a content type: a foreign page's form could not send it unasked."""
    given = request.headers.get("content-type", "")
    name, _, parameters = given.partition(";")
    charset = re.fullmatch(r'\s*charset="?([\w-]+)"?\s*', parameters, flags=re.IGNORECASE)
    if (
        name.strip().lower() not in types
        or (charset and charset[1].lower() not in {"utf-8", "utf8"})
        or request.headers.get("content-encoding", "identity").lower() != "identity"
    ):
        raise Problem(
            "not-json", f"send {' or '.join(sorted(types))} in UTF-8, not {shown(given, 100)}"
        )


def refuse_longer(request: Request, most: int) -> None:
    """Refuse a body that says it has more than ``most`` bytes."""
    if int(request.headers.get("content-length", 0)) > most:
        # The rest is not read, so the connection cannot be used again.
        raise Problem(
            "too-large", f"the body has more than {most:,} bytes", headers={"connection": "close"}
        )


async def read_body(request: Request, most: int) -> bytes:
    """Read a body that should be short."""
    refuse_longer(request, most)
    body = bytearray()
    try:
        async for chunk in request.stream():
            body += chunk
            if len(body) > most:
                raise Problem(
                    "too-large",
                    f"the body has more than {most:,} bytes",
                    headers={"connection": "close"},
                )
    except ClientDisconnect:
        raise Problem("malformed-request", "the connection ended in mid-body") from None
    return bytes(body)


async def read_model(request: Request, model: type[M]) -> M:
    """Read a short JSON body into a model, or say which of its fields break their rules."""
    require_type(request, JSON)
    body = await read_body(request, SHORT)
    try:
        return model.model_validate_json(body)
    except ValidationError as error:
        reasons = [
            Reason(
                ".".join(["body", *map(str, each["loc"])]), each["msg"], shown(each["input"], 60)
            )
            for each in error.errors()
        ]
        raise Problem("invalid-request", str(reasons[0]), errors=reasons) from None


def body_of(model: type[BaseModel]) -> dict[str, Any]:
    """Describe for OpenAPI the body that `read_model` reads."""
    schema = {"application/json": {"schema": model.model_json_schema()}}
    return {"requestBody": {"required": True, "content": schema}}
