"""What a constraint demands, in words that follow from it, whatever field it is put on.

Pydantic names the kind of constraint that was broken, with its numbers. What is not listed here,
and what validators raise, speaks for itself.
"""

from __future__ import annotations

import re
from datetime import timedelta, timezone
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from shared.texts import legible, said

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pydantic_core import ErrorDetails

MOST_CHARACTERS = 200
"""Characters that a rule is cut to: a pattern, or a choice of values, may be of any length."""

DISTINCT = ("Set", "Frozenset")
"""What pydantic calls lists of which equal entries count once."""

_OBJECT = "must be an object"
_LIST = "must be a list"
_STRING = "must be a string"
_WHOLE = "must be a whole number"
_NUMBER = "must be a number"
_DECIMAL = "must be a decimal number"
_BOOLEAN = "must be true or false"
_DATE = "must be a date like 2026-01-31"
_INSTANT = "must be a date and time like 2026-01-31T09:30:00"
_CLOCK = "must be a time of day like 09:30:00"
_DURATION = "must be a duration like PT1H30M"
_UUID = "must be a UUID"
_URL = "must be a URL"

_RULES = {
    "missing": "is required",
    "extra_forbidden": "is not a known field",
    "literal_error": "must be {expected}",
    "enum": "must be {expected}",
    "none_required": "must be null",
    "bool_type": _BOOLEAN,
    "bool_parsing": _BOOLEAN,
    "int_type": _WHOLE,
    "int_parsing": _WHOLE,
    "int_from_float": _WHOLE,
    "int_parsing_size": "must be a whole number of a sensible size",
    "float_type": _NUMBER,
    "float_parsing": _NUMBER,
    "finite_number": "must be a finite number",
    "decimal_type": _DECIMAL,
    "decimal_parsing": _DECIMAL,
    "decimal_max_digits": "must have at most {max_digits} {counted}",
    "decimal_max_places": "must have at most {decimal_places} {counted}",
    "decimal_whole_digits": "must have at most {whole_digits} {counted} before the point",
    "greater_than": "must be greater than {gt}",
    "greater_than_equal": "must be at least {ge}",
    "less_than": "must be less than {lt}",
    "less_than_equal": "must be at most {le}",
    "multiple_of": "must be a multiple of {multiple_of}",
    "string_type": _STRING,
    "string_too_short": "must have at least {min_length} {counted}",
    "string_too_long": "must have at most {max_length} {counted}",
    "string_pattern_mismatch": "must match {pattern}",
    "string_not_ascii": "must consist of ASCII characters",
    "bytes_type": _STRING,
    "bytes_too_short": "must have at least {min_length} {counted}",
    "bytes_too_long": "must have at most {max_length} {counted}",
    "too_short": "must have at least {min_length} {counted}",
    "too_long": "must have at most {max_length} {counted}",
    "list_type": _LIST,
    "tuple_type": _LIST,
    "set_type": _LIST,
    "frozen_set_type": _LIST,
    "deque_type": _LIST,
    "iterable_type": _LIST,
    "set_item_not_hashable": "must not be a list or an object",
    "named_tuple_type": "must be a list or an object",
    "dict_type": _OBJECT,
    "mapping_type": _OBJECT,
    "model_type": _OBJECT,
    "model_attributes_type": _OBJECT,
    "dataclass_type": _OBJECT,
    "date_type": _DATE,
    "date_parsing": _DATE,
    "date_from_datetime_parsing": _DATE,
    "date_from_datetime_inexact": "must be a date without a time",
    "date_past": "must be in the past",
    "date_future": "must be in the future",
    "datetime_type": _INSTANT,
    "datetime_parsing": _INSTANT,
    "datetime_from_date_parsing": _INSTANT,
    "datetime_object_invalid": _INSTANT,
    "datetime_past": "must be in the past",
    "datetime_future": "must be in the future",
    "timezone_aware": "must have an offset, like 2026-01-31T09:30:00Z",
    "timezone_naive": "must have no offset, like 2026-01-31T09:30:00",
    "timezone_offset": "must have the offset {tz_expected}",
    "time_type": _CLOCK,
    "time_parsing": _CLOCK,
    "time_delta_type": _DURATION,
    "time_delta_parsing": _DURATION,
    "uuid_type": _UUID,
    "uuid_parsing": _UUID,
    "uuid_version": "must be a UUID of version {expected_version}",
    "url_type": _URL,
    "url_parsing": _URL,
    "url_syntax_violation": _URL,
    "url_scheme": "must be a URL that begins with {expected_schemes}",
    "url_too_long": "must have at most {max_length} {counted}",
    "fraction_type": "must be a fraction like 1/3",
    "fraction_parsing": "must be a fraction like 1/3",
    "complex_type": "must be a complex number like 1+2j",
    "complex_str_parsing": "must be a complex number like 1+2j",
    "json_type": "must be a string of JSON",
    "json_invalid": "must be JSON ({error})",
    "union_tag_invalid": "must be of one of the kinds {expected_tags}",
    "union_tag_not_found": "must be of a known kind",
}
# By which number of the constraint it is told whether it is one of them, or many.
_COUNTED = {
    "decimal_max_digits": ("max_digits", "digit"),
    "decimal_max_places": ("decimal_places", "decimal"),
    "decimal_whole_digits": ("whole_digits", "digit"),
    "string_too_short": ("min_length", "character"),
    "string_too_long": ("max_length", "character"),
    "bytes_too_short": ("min_length", "byte"),
    "bytes_too_long": ("max_length", "byte"),
    "url_too_long": ("max_length", "character"),
    "too_short": ("min_length", "entry"),
    "too_long": ("max_length", "entry"),
}
_OF_FORM = {
    "string_pattern_mismatch",
    "string_not_ascii",
    "literal_error",
    "enum",
    "predicate_failed",
    "datetime_object_invalid",
    "timezone_aware",
    "timezone_naive",
    "timezone_offset",
    "url_syntax_violation",
    "url_scheme",
    "uuid_version",
}
# The beginnings of pydantic's own sentences, and how ours begin.
_BEGINNINGS = (
    (re.compile(r"(?:Value error|Assertion failed), "), ""),
    (re.compile(r"(?i:input|value) is not a valid "), "must be a valid "),
    (re.compile(r"Input should "), "must "),
    (re.compile(r"Predicate '?(.+?)'? failed"), r"must satisfy \1"),
)


def rule_of(detail: ErrorDetails) -> str:
    """Say what a value must be; one line, never empty."""
    kind, words = detail["type"], _in_words(detail)
    if kind in {"string_too_short", "bytes_too_short"} and words.get("min_length") == "1":
        return "must not be empty"
    try:
        return legible(_RULES[kind].format_map(words), MOST_CHARACTERS)
    except KeyError:  # what is not listed, or goes by a name that is and has not its numbers
        return _sentence(legible(detail["msg"], MOST_CHARACTERS))


def is_of_kind(kind: str) -> bool:
    """Whether a rule is about what kind of value it should be, and not about what it says."""
    return kind.endswith("_type") or kind in {"none_required", "literal_error", "enum"}


def is_of_form(kind: str) -> bool:
    """Whether a field may have better words for a rule than those that follow from it."""
    return kind in _OF_FORM or "_parsing" in kind


def _sentence(text: str) -> str:
    for beginning, ours in _BEGINNINGS:
        text = beginning.sub(ours, text, count=1) if beginning.match(text) else text
    return text.strip() or "must be valid"


def _in_words(detail: ErrorDetails) -> dict[str, str]:
    context: Mapping[str, Any] = detail.get("ctx", {})
    words = {name: _amount(name, value) for name, value in context.items()}
    number, noun = _COUNTED.get(detail["type"], ("", ""))
    if number in words:
        if noun == "entry" and isinstance(detail["input"], str):
            noun = "character"  # in a union with lists, say
        many = "entries" if noun == "entry" else f"{noun}s"
        words["counted"] = noun if words[number] == "1" else many
        if context.get("field_type") in DISTINCT:
            words["counted"] = f"different {words['counted']}"
    return words


def _amount(name: str, value: object) -> str:
    if name == "error":
        # The parser saw one line: which one of the file, the place says.
        return said(value).replace("line 1 column", "column")
    try:
        if name == "tz_expected" and isinstance(value, int):
            return str(timezone(timedelta(seconds=value))).removeprefix("UTC") or "Z"
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if isinstance(value, int | float | Decimal):
            return f"{value:,}"
    except (ValueError, OverflowError):  # no time zone is that far away, no number written so long
        pass
    return said(value, MOST_CHARACTERS)
