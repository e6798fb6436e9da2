"""The page at ``/``: its files, as they are, and the stream of snapshots that it shows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from fastapi import APIRouter, Request, Response
from fastapi.responses import StreamingResponse

from services.http.problems import Problem
from shared.currencies import MINOR_DIGITS
from shared.ids import ID_PATTERN

if TYPE_CHECKING:
    from services.http.live.broadcast import Broadcast

_FOLDER = Path(__file__).parent.parent / "page"
_TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript"}
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


def page_router(broadcast: Broadcast) -> APIRouter:
    """Make the routes of the page; its files are read once, now."""
    routes = APIRouter(include_in_schema=False)
    files = {path.name: path.read_bytes() for path in _FOLDER.iterdir() if path.suffix in _TYPES}
    # What a browser knows of currencies are customs, and not ISO 4217: no cents for the forint.
    files["currencies.js"] = f"export const MINOR_DIGITS = {json.dumps(MINOR_DIGITS)};\n".encode()
    files["ids.js"] = f"export const ID = new RegExp({json.dumps(ID_PATTERN)});\n".encode()

    def asset(name: str) -> Response:
        return Response(
            files[name],
            media_type=_TYPES[Path(name).suffix],
            headers={"content-security-policy": _POLICY},
        )

    @routes.get("/")
    async def index() -> Response:
        return asset("index.html")

    @routes.get("/page/{name}")
    async def file(name: str) -> Response:
        if name not in files:
            raise Problem("not-found")
        return asset(name)

    @routes.get("/events")
    async def events(request: Request) -> Response:
        if broadcast.is_full:
            raise Problem("too-many-listeners")
        if request.scope.get("is_head"):
            return Response(media_type="text/event-stream")
        return StreamingResponse(
            broadcast.listen(),
            media_type="text/event-stream",
            headers={"x-accel-buffering": "no"},
        )

    return routes
