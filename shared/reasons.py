"""Why an order is invalid, in an operator's words: pydantic's findings, said again.

The words follow from the constraint (``shared.rules``). Where a field can say it better, its own
definition does: see ``Says``.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from itertools import groupby, islice
from typing import TYPE_CHECKING, NamedTuple, cast

from pydantic import BaseModel
from pydantic_core import PydanticCustomError

from shared.errors import Reason
from shared.rules import DISTINCT, MOST_CHARACTERS, is_of_form, is_of_kind, rule_of
from shared.schema_steps import WORDS, steps_of
from shared.texts import legible, said, shown

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable, Iterator, Sequence

    from pydantic import GetCoreSchemaHandler
    from pydantic_core import CoreSchema, ErrorDetails

    from shared.schema_steps import Spot, Steps

_WITHOUT_VALUE = {"missing", "extra_forbidden", "json_invalid"}
_BROKEN = "broken_rule"
_TAGS = {"union_tag_invalid", "union_tag_not_found"}
_NAME = re.compile(r"'([^']*)'")
_SHOWN = 60
_MOST_DETAILS = 200
"""Most findings about one field that are looked at; of a union there is one for each part."""

MOST_REASONS = 20
"""Most rules that are told of an order: whoever breaks more sees what is wrong by these."""

_AND_MORE = Reason("order", f"breaks more rules than these {MOST_REASONS}")


@dataclass(frozen=True, slots=True)
class Says:
    """A field's own words for a rule that has none: a pattern, a choice, a format, a predicate.

        ColourCode = Annotated[str, Field(pattern="^#[0-9a-f]{6}$"), Says("must be like #00ff00")]

    Types, lengths and bounds have words that follow from them, and keep those. A validator of a
    field says what is wrong with it by ``raise ValueError("must be ...")``, and one of the whole
    model by ``raise broken("field", "must be ...")``.
    """

    words: str

    def __get_pydantic_core_schema__(
        self, source: object, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        return self.of(handler(source))

    def of(self, schema: CoreSchema) -> CoreSchema:
        """Put the words on a core schema."""
        metadata = (schema.get("metadata") or {}) | {WORDS: self.words}
        return cast("CoreSchema", {**schema, "metadata": metadata})


def broken(where: str, rule: str) -> PydanticCustomError:
    """Make the error for a model's validator to raise that looks at several fields.

    Args:
        where: The field that is named, or what several fields make together, like a total.
        rule: What it must be.
    """
    return PydanticCustomError(_BROKEN, "{rule}", {"where": where, "rule": rule})


class _Finding(NamedTuple):
    """What pydantic found, and where that is."""

    detail: ErrorDetails
    spot: Spot


def reasons_of(details: Iterable[ErrorDetails], model: type[BaseModel]) -> list[Reason]:
    """Say in an operator's words what pydantic found, as far as that is worth reading.

    Args:
        details: At least one; those of a field follow each other.
        model: What was validated.
    """
    steps = steps_of(model)
    echoes: list[ErrorDetails] = []
    reasons: list[Reason] = []
    for _, found in groupby(_without_echoes(details, echoes), key=_field):
        for reason in _of_field(islice(found, _MOST_DETAILS), steps):
            if reason in reasons:
                continue
            if len(reasons) == MOST_REASONS:
                return [*reasons, _AND_MORE]
            reasons.append(reason)
    return reasons or _of_field(echoes[:1], steps)


def bounded(reasons: list[Reason]) -> list[Reason]:
    """Keep the first of many reasons, and say that there are more."""
    if len(reasons) <= MOST_REASONS:
        return reasons
    return [*(each for each in reasons[:MOST_REASONS] if each != _AND_MORE), _AND_MORE]


def _without_echoes(
    details: Iterable[ErrorDetails], echoes: list[ErrorDetails]
) -> Iterator[ErrorDetails]:
    """Put aside that a list is too short where pydantic counts only its valid entries."""
    for detail in details:
        given, context = detail["input"], detail.get("ctx", {})
        is_short = detail["type"] == "too_short" and context.get("field_type") not in DISTINCT
        counted = context.get("actual_length")
        is_list = isinstance(given, list | tuple) and isinstance(counted, int)
        if is_short and is_list and counted != len(given):
            echoes.append(detail)
        else:
            yield detail


def _field(detail: ErrorDetails) -> Hashable:
    loc = detail["loc"]
    return loc[:2] if len(loc) > 1 and isinstance(loc[1], int) else loc[:1]


def _of_field(details: Iterable[ErrorDetails], steps: Steps) -> list[Reason]:
    """Make the reasons of one field; those at one place are one, since any of them would do."""
    findings = [_Finding(detail, steps.follow(detail)) for detail in details]
    if len(findings) == 1:
        return [_reason(findings[0])]
    rules: dict[str, dict[str, str]] = {}
    for finding in _nearest(findings):
        where, rule, value = _reason(finding)
        rules.setdefault(where, {}).setdefault(rule, value)
    return [
        Reason(where, legible(", or ".join(values), MOST_CHARACTERS), next(iter(values.values())))
        for where, values in rules.items()
    ]


def _nearest(findings: list[_Finding], depth: int = 0) -> list[_Finding]:
    """Of what every part of a union found keep what the part found that comes nearest."""
    kept: list[_Finding] = []
    unions: dict[tuple[int | str, ...], dict[int | str, list[_Finding]]] = {}
    for finding in findings:
        loc, choices = finding.detail["loc"], finding.spot.choices
        if depth == len(choices):
            kept.append(finding)
        else:
            at = choices[depth]
            unions.setdefault(loc[:at], {}).setdefault(loc[at], []).append(finding)
    for before, parts in unions.items():
        for part in _nearest_parts([*parts.values()], len(before) - depth):
            kept += _nearest(part, depth + 1)
    return kept


def _nearest_parts(parts: list[list[_Finding]], steps: int) -> list[list[_Finding]]:
    """Choose between the parts of a union.

    Args:
        parts: What each of them found.
        steps: How many lead to the union's value; a finding with more is about what is in it.
    """

    def is_outside(part: list[_Finding]) -> bool:
        return all(len(each.spot.place) <= steps for each in part)

    def is_other_kind(part: list[_Finding]) -> bool:
        return is_outside(part) and all(is_of_kind(each.detail["type"]) for each in part)

    parts = [part for part in parts if not is_other_kind(part)] or parts
    least = min(map(len, parts))
    nearest = [part for part in parts if len(part) == least]
    return [part for part in nearest if is_outside(part)] or nearest[:1]


def _reason(finding: _Finding) -> Reason:
    detail, spot = finding
    kind, context = detail["type"], detail.get("ctx", {})
    place, value = spot.place, value_of(detail)
    rule = legible(spot.words) if spot.words and is_of_form(kind) else rule_of(detail)
    if kind == "extra_forbidden":
        rule = "is not a field of an order"
    elif kind == _BROKEN and "where" in context:
        place = (*place, context["where"])
    elif kind in _TAGS and (name := _NAME.fullmatch(said(context.get("discriminator", "")))):
        place = (*place, name[1])
        rule, value = "is required", ""
        if "tag" in context:
            tags = said(context.get("expected_tags", ""))
            rule = legible(f"must be one of {tags}", MOST_CHARACTERS)
            value = shown(context["tag"], _SHOWN)
    if value in rule and not rule.startswith("must "):
        value = ""  # it has been said
    where = legible(_written(place), 100) or "order"
    return Reason(f"key {where}" if spot.is_key else where, rule, value)


def value_of(detail: ErrorDetails) -> str:
    """What stood there, where that says something: not all that a list or an object holds."""
    kind, value = detail["type"], detail["input"]
    is_whole = isinstance(value, Collection | BaseModel) and not isinstance(value, str | bytes)
    if kind in _WITHOUT_VALUE or (is_whole and not is_of_kind(kind)):
        return ""
    is_plain = value is None or isinstance(value, Collection | int | float)
    return shown(value, _SHOWN) if is_plain else said(value, _SHOWN)


def _written(place: Sequence[int | str]) -> str:
    text = ""
    for step in place:
        if isinstance(step, int):
            text += f"[{step}]"
        else:
            name = step if step.isidentifier() else repr(step)
            text += f".{name}" if text else name
    return text
