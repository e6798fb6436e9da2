"""Refusals as problem documents (RFC 9457): a stable type for each kind, and what to do.

The type of a problem is a path of this service, and what stands there describes it.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NamedTuple

from shared.errors import LedgerUncertain, Reason
from shared.reasons import value_of
from shared.rules import rule_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from shared.errors import LedgerUnavailable

MEDIA_TYPE = "application/problem+json"


class Kind(NamedTuple):
    """A kind of problem: its name, its status code, and what to say of it."""

    name: str
    status: int
    title: str
    remedy: str

    @property
    def type(self) -> str:
        """The ``type`` of its documents."""
        return f"/problems/{self.name}"


_KINDS = [
    Kind("malformed-request", 400, "This is not HTTP", "Send a well-formed HTTP/1.1 request."),
    Kind(
        "unauthorized",
        401,
        "A token is needed for this",
        "Send the header Authorization: Bearer with the value of API_TOKEN.",
    ),
    Kind(
        "foreign-host",
        403,
        "This service does not go by that name",
        "Use the address it listens on, or name the host in HTTP_ALLOWED_HOSTS.",
    ),
    Kind(
        "foreign-origin",
        403,
        "A page from elsewhere may not do this",
        "Call from a page of this service, or from a program that sends no Origin; if the page is "
        "this service's own, name its host in HTTP_ALLOWED_HOSTS.",
    ),
    Kind("not-found", 404, "There is nothing at this path", "See /docs for the paths there are."),
    Kind(
        "unknown-order",
        404,
        "This order was never accepted",
        "Check the id; an order that was refused can be sent again.",
    ),
    Kind(
        "unknown-worker",
        404,
        "There is no such worker",
        "Look at /status for those there are; a worker that was replaced has another name.",
    ),
    Kind(
        "method-not-allowed",
        405,
        "This path knows other methods",
        "Use one of those in the header Allow.",
    ),
    Kind(
        "too-slow",
        408,
        "The request did not come in time",
        "Send it again, whole and without pauses; what was accepted of it is not accepted twice.",
    ),
    Kind(
        "conflict",
        409,
        "This order_id was accepted before with other content",
        "Send another order under another id; the first one stands.",
    ),
    Kind(
        "not-dead",
        409,
        "This order is not dead",
        "Only dead orders are retried or discarded; look at its present status.",
    ),
    Kind(
        "in-doubt",
        409,
        "This order may have been charged",
        "Look at the backend that takes the money; then retry it with not_charged=true, or settle "
        "it with the reference of its charge.",
    ),
    Kind(
        "generating",
        409,
        "Orders are being generated already",
        "Wait for its end, or end it: DELETE /generator.",
    ),
    Kind("too-large", 413, "The body is too large", "Send less at once."),
    Kind(
        "not-json",
        415,
        "The body is not of a type that is taken here",
        "Send UTF-8 with the content type application/json (orders one by one) or "
        "application/x-ndjson (many), without a content encoding.",
    ),
    Kind("invalid-order", 422, "The order breaks the schema", "Mend what errors names."),
    Kind(
        "invalid-request",
        422,
        "A parameter cannot be understood",
        "Mend what errors names; /docs describes every parameter.",
    ),
    Kind(
        "full",
        429,
        "As many orders are open as there may be",
        "Send it again after the seconds in Retry-After. It was not accepted.",
    ),
    Kind(
        "head-too-large",
        431,
        "The request line and the headers are too large",
        "Send shorter headers.",
    ),
    Kind("internal-error", 500, "This is a bug", "Tell us, with the request_id."),
    Kind(
        "ledger-unavailable",
        503,
        "The ledger cannot be reached or written",
        "Send it again after the seconds in Retry-After. It was not accepted.",
    ),
    Kind(
        "queue-unavailable",
        503,
        "Redis cannot be reached",
        "Try again after the seconds in Retry-After. Orders are accepted meanwhile.",
    ),
    Kind(
        "too-many-listeners",
        503,
        "As many listen as can be served",
        "Try again after the seconds in Retry-After, or close another page.",
    ),
    Kind(
        "too-many-proofs",
        503,
        "As many wait for a proof as may",
        "Try again after the seconds in Retry-After.",
    ),
    Kind(
        "too-many-connections",
        503,
        "As many connections are open as there may be",
        "Try again after the seconds in Retry-After; close connections that are idle.",
    ),
    Kind(
        "stopping",
        503,
        "The service is stopping",
        "Send it again after the seconds in Retry-After. It was not accepted.",
    ),
    Kind(
        "outcome-unknown",
        504,
        "Nobody knows whether this was done",
        "Send it again, an order with the same order_id: what was done already counts once.",
    ),
]
KINDS = {kind.name: kind for kind in _KINDS}
_BY_STATUS = {400: "malformed-request", 404: "not-found", 405: "method-not-allowed"}
_RETRIED = {
    *("full", "ledger-unavailable", "queue-unavailable", "too-many-listeners", "stopping"),
    *("outcome-unknown", "too-many-proofs", "too-many-connections"),
}
RETRY_AFTER = 1
"""Seconds: a full pipeline settles thousands of orders in one."""


class Problem(Exception):
    """A request is refused.

    Args:
        name: The kind's.
        detail: What it is this time, for a person.
        errors: Single faults of an order or a parameter.
        headers: More headers for the answer.
    """

    def __init__(
        self,
        name: str,
        detail: str = "",
        *,
        errors: Sequence[Reason] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail or name)
        self.kind = KINDS[name]
        self.detail = detail
        self.errors = errors
        self.headers = dict(headers or {})
        if name in _RETRIED:
            self.headers["retry-after"] = str(RETRY_AFTER)

    def document(self, request_id: str) -> bytes:
        """Write the document."""
        content: dict[str, Any] = {
            "type": self.kind.type,
            "title": self.kind.title,
            "status": self.kind.status,
            "detail": self.detail or self.kind.remedy,
            "request_id": request_id,
        }
        if self.errors:
            content["errors"] = [reason._asdict() for reason in self.errors]
        return json.dumps(content, ensure_ascii=False).encode("utf-8", errors="backslashreplace")

    def raw_headers(self, length: int) -> list[tuple[bytes, bytes]]:
        """The answer's own headers, for a document of ``length`` bytes."""
        headers = {"content-type": MEDIA_TYPE, "content-length": str(length), **self.headers}
        return [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]


def of_parameters(details: Iterable[Any], *within: str) -> Problem:
    """The problem that parameters are which pydantic refuses.

    Args:
        details: What it found, as it says it.
        within: What they are part of, where pydantic does not say that.
    """
    errors = [
        Reason(".".join(map(str, (*within, *each["loc"]))), rule_of(each), value_of(each))
        for each in details
    ]
    return Problem("invalid-request", str(errors[0]), errors=errors)


def of_ledger(error: LedgerUnavailable) -> Problem:
    """The problem that trouble with the ledger is: nothing was done, or nobody knows."""
    is_unknown = isinstance(error, LedgerUncertain)
    return Problem("outcome-unknown" if is_unknown else "ledger-unavailable", str(error))


def of_status(status: int, detail: str, headers: Mapping[str, str] | None) -> Problem:
    """The problem that the framework means by a status code."""
    return Problem(_BY_STATUS.get(status, "internal-error"), detail, headers=headers)
