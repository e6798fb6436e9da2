"""What the bank refuses, and how it says so: problem documents (RFC 9457) that name the place."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NamedTuple

from shared.errors import Reason
from shared.reasons import value_of
from shared.rules import rule_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

MEDIA_TYPE = "application/problem+json"

RETRY_AFTER = 1
"""Seconds, wherever another try is worth it."""


class Kind(NamedTuple):
    """A kind of problem: its status code, and what it means to the client."""

    status: int
    title: str
    is_retried: bool = False


KINDS = {
    "malformed-request": Kind(400, "This is not HTTP"),
    "no-key": Kind(400, "A charge needs a key"),
    "not-json": Kind(400, "The body is no JSON"),
    "too-large": Kind(400, "The body is too large"),
    "refused": Kind(400, "This charge is refused for good; nothing was charged"),
    "unauthorized": Kind(401, "A token is needed for this"),
    "no-chaos": Kind(403, "Faults may not be set here"),
    "not-found": Kind(404, "There is nothing at this path"),
    "unknown-account": Kind(404, "No such account was ever charged"),
    "method-not-allowed": Kind(405, "This path knows other methods"),
    "too-slow": Kind(408, "The request did not come in time"),
    "key-in-use": Kind(409, "The first request of this key is still at work", is_retried=True),
    "invalid": Kind(422, "The request breaks a rule"),
    "other-parameters": Kind(422, "This key was used for another charge"),
    "other-currency": Kind(422, "This account is kept in another currency"),
    "ambiguous": Kind(422, "Several books have such an account"),
    "throttled": Kind(429, "Too many charges at once; nothing was charged", is_retried=True),
    "head-too-large": Kind(431, "The request line and the headers are too large"),
    "failed": Kind(500, "The bank has failed; nobody says whether anything was charged"),
    "unavailable": Kind(503, "The bank is closed; nothing was charged", is_retried=True),
    "busy": Kind(503, "The bank is full; nothing was charged", is_retried=True),
}


class Problem(Exception):
    """A request is refused.

    Args:
        name: The kind's.
        detail: What it is this time, for a person.
        errors: The single rules that are broken.
        headers: More headers for the answer, in lower case.
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
        self.name = name
        self.kind = KINDS[name]
        self._detail = detail
        self._errors = errors
        self.headers = dict(headers or {})
        if self.kind.is_retried:
            self.headers["retry-after"] = str(RETRY_AFTER)

    def document(self) -> bytes:
        """Write the document."""
        content: dict[str, Any] = {
            "type": f"/problems/{self.name}",
            "title": self.kind.title,
            "status": self.kind.status,
            "detail": self._detail or self.kind.title,
        }
        if self._errors:
            content["errors"] = [reason._asdict() for reason in self._errors]
        return json.dumps(content).encode()

    def raw_headers(self, length: int) -> list[tuple[bytes, bytes]]:
        """The answer's headers, for a document of ``length`` bytes."""
        headers = {"content-type": MEDIA_TYPE, "content-length": str(length), **self.headers}
        return [(name.encode(), value.encode()) for name, value in headers.items()]


def of_invalid(details: Iterable[Any]) -> Problem:
    """The problem with a body that pydantic refuses: it is no JSON, or breaks these rules."""
    errors = [
        Reason(".".join(map(str, each["loc"])) or "body", rule_of(each), value_of(each))
        for each in details
    ]
    if errors[0].rule.startswith("must be JSON"):
        return Problem("not-json", str(errors[0]), errors=errors)
    return Problem("invalid", "; ".join(map(str, errors[:5])), errors=errors[:20])
