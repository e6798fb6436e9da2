"""Why an order is invalid, in an operator's words: pydantic's findings, said again."""

from __future__ import annotations

from typing import TYPE_CHECKING

from shared.errors import Reason
from shared.ids import ID_CHARACTER, ID_WORDS
from shared.texts import legible, shown

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pydantic_core import ErrorDetails

ID_CHARACTERS = f"^{ID_CHARACTER}*$"
PRINTABLE_PATTERN = r"^(?: |[^\p{C}\p{Z}])*$"
RFC3339_PATTERN = r"^\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)$"

_RULES = {
    "missing": "is required",
    "extra_forbidden": "is not a field of an order",
    "literal_error": "must be an active ISO 4217 code",
    "int_type": "must be a whole number",
    "int_parsing_size": "must be a whole number of a sensible size",
    "string_type": "must be a string",
    "string_too_short": "must not be empty",
    "string_too_long": "must have at most 64 characters",
    "greater_than_equal": "must be at least {ge:,}",
    "less_than_equal": "must be at most {le:,}",
    "too_short": "must have at least {min_length} entry",
    "too_long": "must have at most {max_length} entries",
    "tuple_type": "must be a list",
    "model_type": "must be an object",
    "model_attributes_type": "must be an object",
}
_PATTERN_RULES = {
    ID_CHARACTERS: f"must consist of {ID_WORDS}",
    PRINTABLE_PATTERN: "must consist of printable characters",
    RFC3339_PATTERN: "must be an RFC 3339 time with an offset, like 2026-01-31T09:30:00Z",
}
_WITHOUT_VALUE = {
    "missing",
    "extra_forbidden",
    "too_short",
    "too_long",
    "total_range",
    "numbering",
    "json_invalid",
}
_SHOWN = 60
MOST_REASONS = 20
"""Most rules that are told of an order: whoever breaks more sees what is wrong by these."""

_AND_MORE = Reason("order", f"breaks more rules than these {MOST_REASONS}")


def reasons_of(details: Iterable[ErrorDetails]) -> list[Reason]:
    """Say in an operator's words what pydantic found, as far as that is worth reading."""
    reasons: list[Reason] = []
    for detail in details:
        kind = detail["type"]
        if kind == "too_short" and detail["input"]:
            continue  # pydantic counts only the items that were valid
        if kind == "datetime_type":
            continue  # a text is no datetime; what is wrong with the text follows
        where = "total" if kind == "total_range" else _place(detail["loc"])
        value = "" if kind in _WITHOUT_VALUE else _show(detail["input"])
        reason = Reason(where, _rule(detail), value)
        if reason in reasons:
            continue
        if len(reasons) == MOST_REASONS:
            return [*reasons, _AND_MORE]
        reasons.append(reason)
    return reasons


def bounded(reasons: list[Reason]) -> list[Reason]:
    """Keep the first of many reasons, and say that there are more."""
    if len(reasons) <= MOST_REASONS:
        return reasons
    return [*(each for each in reasons[:MOST_REASONS] if each != _AND_MORE), _AND_MORE]


def _rule(detail: ErrorDetails) -> str:
    kind, context = detail["type"], detail.get("ctx", {})
    if kind == "string_pattern_mismatch":
        return _PATTERN_RULES[context["pattern"]]
    if kind.startswith(("datetime", "timezone")):
        return "must be a time that exists, with an offset"
    if kind == "json_invalid":
        # The parser saw one line: which one of the file, the place says.
        return f"must be JSON ({context['error'].replace('line 1 column', 'column')})"
    if kind == "literal_error" and detail["loc"][-1] == "schema_version":
        return f"must be {context['expected']}"
    return _RULES[kind].format(**context) if kind in _RULES else detail["msg"]


def _place(loc: tuple[int | str, ...]) -> str:
    place = ""
    for part in loc:
        if isinstance(part, int):
            place += f"[{part}]"
        else:
            name = part if part.isidentifier() else repr(part)
            place += f".{name}" if place else name
        if part == "placed_at":
            break  # what follows are steps inside the time's schema
    return legible(place, 100) or "order"


def _show(value: object) -> str:
    return shown(value, _SHOWN)
