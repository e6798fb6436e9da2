"""The bank over HTTP: every route, and what stands before them: the outage and the token."""

from __future__ import annotations

import hmac
from typing import TYPE_CHECKING

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.routing import Route

from services.bank.charges import MOST_AMOUNT, write_json
from services.bank.faults import read_faults
from services.bank.problems import KINDS, Problem
from services.bank.requests import hang_up, hold, read_body, refuse
from shared.logs import Logger

if TYPE_CHECKING:
    from starlette.requests import Request

    from services.bank.charging import Charging
    from services.bank.lookups import Lookups
    from services.bank.requests import Receive, Scope, Send
    from shared.settings import Settings

log = Logger("bank")

_FAULTS = "/faults"
"""The way out of an outage is open in one."""

_HEALTH = "/healthz"
_BY_STATUS = {404: "not-found", 405: "method-not-allowed"}


class BankApp:
    """The ASGI application.

    Args:
        charging: What charges.
        lookups: What looks things up.
        settings: The token, and whether faults may be set.
    """

    def __init__(self, charging: Charging, lookups: Lookups, settings: Settings) -> None:
        self._charging = charging
        self._lookups = lookups
        self._token = settings.api_token.get_secret_value().encode()
        self._has_chaos = settings.chaos
        self._routes = Starlette(
            routes=[
                # A POST does not come this far, and is here to be told of.
                Route("/charges", self._find_charges, methods=["GET", "POST"]),
                Route("/accounts/{account:path}", self._find_account),
                Route(_FAULTS, self._answer_faults, methods=["GET", "PUT"]),
                Route(_HEALTH, _say_well),
                Route("/problems/{name}", _explain),
            ],
            exception_handlers={Problem: _as_response, HTTPException: _refuse_as_the_framework},
        )
        self._routes.router.redirect_slashes = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, refuse it, or leave it without an answer."""
        try:
            path, faults = scope["path"], self._charging.faults
            if faults.outage and path != _FAULTS:
                await self._be_away(scope, receive)
            else:
                self._admit(scope)
                if scope["method"] == "POST" and path == "/charges":
                    # Straight there: finding the route would take a third of the time.
                    await self._charging(scope, receive, send)
                else:
                    await self._routes(scope, receive, send)
        except Problem as problem:
            await refuse(problem, send)
        except Exception:  # a bug: who asked is told, and others go on
            log.exception("request failed", path=scope["path"])
            await refuse(Problem("failed"), send)

    async def _be_away(self, scope: Scope, receive: Receive) -> None:
        outage = self._charging.faults.outage
        if outage == "silent":
            await hold(scope, receive)
        elif outage == "refused":
            await hang_up(scope, receive)
        else:
            raise Problem("unavailable")

    def _admit(self, scope: Scope) -> None:
        """Let those in who have the token, and those who ask whether the bank is well."""
        if scope["path"] == _HEALTH:
            return
        is_wrong = self._charging.faults.credentials and scope["path"] != _FAULTS
        if self._token and not is_wrong:
            given = [value for name, value in scope["headers"] if name == b"authorization"]
            scheme, _, token = (given or [b""])[0].partition(b" ")
            is_right = scheme.lower() == b"bearer" and hmac.compare_digest(token, self._token)
            is_wrong = len(given) != 1 or not is_right
        if is_wrong:
            raise Problem(
                "unauthorized",
                "Authorization: must be Bearer with the bank's API_TOKEN",
                headers={"www-authenticate": "Bearer"},
            )

    async def _find_charges(self, request: Request) -> Response:
        given = _parameters(request, {"key", "reference", "after", "ledger"})
        ledger = given.pop("ledger", None)
        if len(given) > 1:
            raise Problem("invalid", f"{' and '.join(given)}: must be asked for one at a time")
        lag = self._charging.faults.lookup_lag
        after = given.pop("after", None if given else "0")
        number = None if after is None else _number("after", after)
        return _json(await self._lookups.charges(lag, ledger=ledger, after=number, **given))

    async def _find_account(self, request: Request) -> Response:
        ledger = _parameters(request, {"ledger"}).get("ledger")
        lag = self._charging.faults.lookup_lag
        return _json(await self._lookups.account(request.path_params["account"], ledger, lag))

    async def _answer_faults(self, request: Request) -> Response:
        if request.method == "PUT":
            await self._set_faults(request)
        return _json(write_json(self._charging.faults.model_dump()))

    async def _set_faults(self, request: Request) -> None:
        if not self._has_chaos:
            raise Problem("no-chaos", "start the bank with CHAOS=1 to set faults")
        self._charging.set_faults(read_faults(await read_body(request.scope, request.receive)))
        wanted = self._charging.faults.model_dump(exclude_defaults=True)
        log.info("faults are set", **wanted)


async def _say_well(_request: Request) -> Response:
    return _json(write_json({"status": "ok"}))


async def _explain(request: Request) -> Response:
    """Describe a type of problem."""
    kind = KINDS.get(request.path_params["name"])
    if kind is None:
        raise Problem("not-found", "there is no such problem")
    return _json(write_json({"title": kind.title, "status": kind.status}))


def _parameters(request: Request, known: set[str]) -> dict[str, str]:
    """Read the query, each parameter once."""
    given: dict[str, str] = {}
    for name, value in request.query_params.multi_items():
        if name not in known:
            raise Problem("invalid", f"{name[:60]}: is not one of {', '.join(sorted(known))}")
        if name in given:
            raise Problem("invalid", f"{name}: must be given once")
        given[name] = value
    return given


def _number(name: str, text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 20 and int(text) <= MOST_AMOUNT):  # noqa: PLR2004
        raise Problem("invalid", f"{name}: must be a charge's id, or 0")
    return int(text)


def _json(body: bytes) -> Response:
    return Response(body, media_type="application/json")


async def _as_response(_request: Request, problem: Exception) -> Response:
    assert isinstance(problem, Problem)  # noqa: S101  the handler is registered for it alone
    body = problem.document()
    response = Response(body, problem.kind.status)
    response.raw_headers = problem.raw_headers(len(body))
    return response


async def _refuse_as_the_framework(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101  the handler is registered for it alone
    headers = {name.lower(): value for name, value in (error.headers or {}).items()}
    return await _as_response(request, Problem(_BY_STATUS[error.status_code], headers=headers))
