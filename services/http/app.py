"""The FastAPI application without its routes: every refusal as a problem, and the documents."""

from __future__ import annotations

import json
from http import HTTPStatus
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import fastapi_offline
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.openapi.utils import get_openapi
from fastapi.responses import FileResponse, HTMLResponse
from starlette.exceptions import HTTPException
from starlette.routing import compile_path

from services.http.callers import COSTLY
from services.http.models import COMPONENTS
from services.http.problems import KINDS, MEDIA_TYPE, Problem, of_ledger, of_parameters, of_status
from shared.errors import LedgerUnavailable

if TYPE_CHECKING:
    from shared.settings import Settings

Responses = dict[int | str, dict[str, Any]]

_ASSETS = Path(fastapi_offline.__file__).parent / "static"
_DOCS = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Orderly: the HTTP interface</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="docs/swagger-ui.css">
</head>
<body>
<div id="docs"></div>
<script src="docs/swagger-ui-bundle.js"></script>
<script src="docs/start.js"></script>
</body>
</html>
"""
_START = """SwaggerUIBundle({
  url: "openapi.json", dom_id: "#docs", deepLinking: true, tryItOutEnabled: true,
  displayRequestDuration: true, persistAuthorization: true
})
"""
_DOCS_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data:; connect-src 'self'; frame-ancestors 'none'"
)
_DESCRIPTION = """Orders come in here, and are paid first come first served.

A 202 means that the order is on disk. Send an order again whenever you did not get an answer, or
got 429, 503 or 504: its `order_id` is its idempotency key, and it is never charged twice.

Every refusal is a problem document (RFC 9457) with a stable `type`.
"""


def new_app(settings: Settings) -> FastAPI:
    """Make the application; whoever has routes adds them."""
    app = FastAPI(
        title="Orderly",
        version=version("orderly"),
        description=_DESCRIPTION,
        docs_url=None,
        redoc_url=None,
        swagger_ui_oauth2_redirect_url=None,
        redirect_slashes=False,
    )
    app.add_exception_handler(Problem, _refuse)
    app.add_exception_handler(LedgerUnavailable, _refuse_for_the_ledger)
    app.add_exception_handler(HTTPException, _refuse_as_the_framework)
    app.add_exception_handler(RequestValidationError, _refuse_parameters)
    app.add_exception_handler(Exception, _refuse_bug)
    _add_documents(app, has_token=bool(settings.api_token.get_secret_value()))
    return app


def answer(problem: Problem, request: Request) -> Response:
    """Make a response of a problem."""
    return Response(
        problem.document(request.scope["request_id"]),
        problem.kind.status,
        headers=problem.headers,
        media_type=MEDIA_TYPE,
    )


async def _refuse(request: Request, problem: Exception) -> Response:
    assert isinstance(problem, Problem)  # noqa: S101  the handler is registered for it alone
    return answer(problem, request)


async def _refuse_for_the_ledger(request: Request, error: Exception) -> Response:
    assert isinstance(error, LedgerUnavailable)  # noqa: S101  the handler is registered for it alone
    return answer(of_ledger(error), request)


async def _refuse_as_the_framework(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101
    headers = {name.lower(): value for name, value in (error.headers or {}).items()}
    if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        headers["allow"] = ", ".join(_allowed(request))
    return answer(of_status(error.status_code, error.detail, headers), request)


def _allowed(request: Request) -> list[str]:
    """The methods that a path knows: the framework names those of one of its routes alone."""
    methods = {
        method.upper()
        for path, operations in request.app.openapi()["paths"].items()
        if compile_path(path)[0].match(request.scope["path"])
        for method in operations
    }
    return sorted(methods) or ["GET"]


async def _refuse_parameters(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)  # noqa: S101
    return answer(of_parameters(error.errors()), request)


async def _refuse_bug(request: Request, _error: Exception) -> Response:
    return answer(Problem("internal-error"), request)


def _add_documents(app: FastAPI, *, has_token: bool) -> None:
    """Serve the description of this interface, for programs and for people."""

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _describe(app, has_token=has_token)
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]

    @app.get("/docs", include_in_schema=False)
    def docs() -> HTMLResponse:
        return HTMLResponse(_DOCS, headers={"content-security-policy": _DOCS_POLICY})

    @app.get("/docs/start.js", include_in_schema=False)
    def start() -> Response:
        return Response(_START, media_type="text/javascript")

    @app.get("/docs/{asset}", include_in_schema=False)
    def docs_asset(asset: str) -> FileResponse:
        if asset not in {"swagger-ui.css", "swagger-ui-bundle.js"}:
            raise Problem("not-found")
        return FileResponse(_ASSETS / asset)

    @app.get("/problems/{name}", include_in_schema=False)
    def problem_type(name: str) -> dict[str, object]:
        kind = KINDS.get(name)
        if kind is None:
            raise Problem("not-found")
        return {**kind._asdict(), "type": kind.type}


def _describe(app: FastAPI, *, has_token: bool) -> dict[str, Any]:
    schema = get_openapi(
        title=app.title,
        version=app.version,
        description=app.description,
        routes=app.routes,
        servers=[{"url": "."}],  # as seen from the document: below a path of a proxy, too
    )
    schemas = schema.setdefault("components", {}).setdefault("schemas", {})
    schemas |= COMPONENTS
    # Parameters that break their rules are answered by _refuse_parameters, not as FastAPI would.
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    for path in schema["paths"].values():
        for operation in path.values():
            _mend(operation)
    if has_token:
        schema["components"]["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
        for route, path in schema["paths"].items():
            for method, operation in path.items():
                if method not in {"get", "head"} or route in COSTLY:
                    operation["security"] = [{"token": []}]
                    operation["responses"] |= refusals("unauthorized")
    return schema


def _mend(operation: dict[str, Any]) -> None:
    """Say what every answer carries, and which refusals every operation shares."""
    responses = operation["responses"]
    invalid = responses.get("422", {}).get("content", {}).get("application/json", {})
    if "HTTPValidationError" in str(invalid):
        del responses["422"]
        responses |= refusals("invalid-request")
    for name, response in refusals("foreign-host", "internal-error").items():
        responses.setdefault(name, response)


def refusals(*names: str) -> Responses:
    """Describe refusals for OpenAPI, by status code."""
    described: Responses = {}
    for name in names:
        kind = KINDS[name]
        code = str(kind.status)
        example = Problem(name).document("4f1c2a9b-17")
        entry = described.setdefault(
            code,
            {
                "description": kind.title,
                "content": {
                    MEDIA_TYPE: {
                        "schema": {"$ref": "#/components/schemas/Problem"},
                        "examples": {},
                    }
                },
            },
        )
        if kind.title not in entry["description"]:
            entry["description"] += f"; or: {kind.title}"
        if "retry-after" in Problem(name).headers:
            entry["headers"] = {
                "Retry-After": {
                    "description": "seconds to wait",
                    "required": True,
                    "schema": {"type": "integer", "minimum": 1},
                }
            }
        entry["content"][MEDIA_TYPE]["examples"][name] = {"value": json.loads(example)}
    return described
