"""Reading the body of a request: of the right type, and no longer than it should be."""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import BaseModel, ValidationError
from starlette.requests import ClientDisconnect

from services.http.problems import Problem, of_parameters
from shared.texts import legible, shown

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from fastapi import Request

T = TypeVar("T")
M = TypeVar("M", bound=BaseModel)

JSON = {"application/json"}
_CODINGS = {"content-encoding": "identity", "transfer-encoding": "chunked"}
_MAGIC = {
    b"\x1f\x8b": "packed with gzip",
    b"\x28\xb5\x2f\xfd": "packed with zstd",
    b"PK\x03\x04": "a ZIP archive",
    b"\xff\xfe": "UTF-16",
    b"\xfe\xff": "UTF-16",
}
SHORT = 4096
"""Bytes that are enough for a request of a few fields."""


def require_type(request: Request, types: set[str]) -> None:
    """Insist on a content type: a foreign page's form could not send it unasked."""
    given = request.headers.get("content-type", "")
    name, _, parameters = given.partition(";")
    charset = re.fullmatch(r'\s*charset="?([\w-]+)"?\s*', parameters, flags=re.IGNORECASE)
    wanted = f"{' or '.join(sorted(types))} in UTF-8"
    for header, plain in _CODINGS.items():
        coding = request.headers.get(header, plain)
        if coding.lower() != plain:
            came = f"the body comes with {header}: {legible(coding, 60)}"
            raise Problem("not-json", f"{came}; unpack it, and send {wanted} without that header")
    if name.strip().lower() not in types or (
        charset and charset[1].lower() not in {"utf-8", "utf8"}
    ):
        raise Problem("not-json", f"send {wanted}, not {shown(given, 100)}")


def require_text(beginning: bytes | bytearray) -> None:
    """Name what a body is that begins as no JSON does."""
    for magic, name in _MAGIC.items():
        if beginning.startswith(magic):
            raise Problem("not-json", f"the body is {name}: send it as plain UTF-8")


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
    require_text(body)
    return bytes(body)


async def read_model(request: Request, model: type[M]) -> M:
    """Read a short JSON body into a model, or say which of its fields break their rules."""
    require_type(request, JSON)
    body = await read_body(request, SHORT)
    try:
        return model.model_validate_json(body)
    except ValidationError as error:
        raise of_parameters(error.errors(), "body") from None


async def while_there(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """Do something that takes long for as long as the one who asked for it waits.

    Raises:
        Problem: The connection has ended, and the work with it.
    """
    working = asyncio.ensure_future(work)
    leaving = asyncio.ensure_future(_leave(request))
    try:
        await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise Problem("malformed-request", "the connection ended before the answer")
        return working.result()
    finally:
        working.cancel()
        leaving.cancel()


async def _leave(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def body_of(model: type[BaseModel]) -> dict[str, Any]:
    """Describe for OpenAPI the body that `read_model` reads."""
    schema = {"application/json": {"schema": model.model_json_schema()}}
    return {"requestBody": {"required": True, "content": schema}}
