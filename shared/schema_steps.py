"""Where in a message an error is: its steps, followed through the schema that found it.

Pydantic's steps are not only fields, indexes and keys. Some name what a type consists of: which
part of a union was tried, which function was called. Whoever sent the message knows none of those.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple, cast

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from pydantic import BaseModel
    from pydantic_core import CoreSchema, ErrorDetails

WORDS = "words"
"""Where the metadata of a schema has words of its own."""

_KEYS = "keys_schema"
_SAME_VALUE = (
    *("schema", "json_schema", "python_schema", "lax_schema", "strict_schema"),
    "arguments_schema",
)
_Schema = dict[str, Any]
_Loc = tuple[int | str, ...]
_MOST_ROUTES = 1000


class _Node(NamedTuple):
    """A part of a schema, and the words that hold there."""

    schema: _Schema
    words: str | None = None


class _Route(NamedTuple):
    """What the steps of an error mean, and whose words hold where they end."""

    places: list[int]
    choices: tuple[int, ...]
    is_key: bool
    worded: list[_Node]
    is_in_schema: bool


class Spot(NamedTuple):
    """Where an error is.

    Attributes:
        place: Fields, indexes and keys, from the outside in.
        is_key: Whether the error is in the last of them, and not in what stands there.
        choices: Which of pydantic's steps named a part of a union, by their index.
        words: What the field says of itself, if it says something.
    """

    place: _Loc
    is_key: bool
    choices: tuple[int, ...]
    words: str | None


@cache
def steps_of(model: type[BaseModel]) -> Steps:
    """Make the errors of a model ready to be followed."""
    return Steps(model.__pydantic_core_schema__)


class Steps:
    """Follows the steps of errors.

    Args:
        schema: A core schema. It is read by the names of its entries and not of its types, of
            which there are more with each release. Steps that are not found in it count as fields.
    """

    def __init__(self, schema: CoreSchema) -> None:
        root = cast("_Schema", schema)
        self._root = _Node(root)
        self._definitions = {each["ref"]: each for each in root.get("definitions", ())}
        self._routes: dict[_Loc, _Route] = {}

    def follow(self, detail: ErrorDetails) -> Spot:
        """Find out where an error is."""
        loc = detail["loc"]
        # One index is like another; and a file may be wrong in the same place on every line.
        alike = tuple([0 if isinstance(step, int) else step for step in loc])
        route = self._routes.get(alike)
        if route is None:
            route = self._route(loc)
            if route.is_in_schema and len(self._routes) < _MOST_ROUTES:
                self._routes[alike] = route
        place = tuple([loc[index] for index in route.places])
        return Spot(place, route.is_key, route.choices, _words(route.worded, detail["type"]))

    def _route(self, loc: _Loc) -> _Route:
        places: list[int] = []
        choices: list[int] = []
        here, keys, is_key, is_in_schema = [self._root], list[_Node](), False, True
        for index, step in enumerate(loc):
            around = list(self._around(here))
            if inner := [_Node(each) for node in around for each in _inner(node.schema, step)]:
                keys = [_Node(each.schema[_KEYS]) for each in around if _KEYS in each.schema]
                is_in_schema = is_in_schema and not keys
                here = inner
                places.append(index)
            elif step == "[key]" and keys:
                here, keys, is_key = keys, [], True
            elif parts := [each for node in around for each in _parts(node, step)]:
                is_in_schema = is_in_schema and not isinstance(step, int)
                here = parts
                choices.append(index)
            else:
                here, is_in_schema = [], False
                places.append(index)
        worded = [node for node in self._around(here) if node.words]
        return _Route(places, tuple(choices), is_key, worded, is_in_schema)

    def _around(self, here: Iterable[_Node]) -> Iterator[_Node]:
        """Yield all parts of a schema that look at the same value."""
        waiting, seen = list(here), set[int]()
        while waiting:
            schema, words = waiting.pop()
            if id(schema) in seen:
                continue
            seen.add(id(schema))
            words = (schema.get("metadata") or {}).get(WORDS, words)
            yield _Node(schema, words)
            within = [schema.get(name) for name in _SAME_VALUE] + schema.get("steps", [])
            within.append(self._definitions.get(schema.get("schema_ref")))
            waiting += [_Node(each, words) for each in within if isinstance(each, dict)]


def _words(worded: list[_Node], kind: str) -> str | None:
    """Whose words are for this kind of error; of several parts of a union its own, if it has."""
    fitting = [each.words for each in worded if _is_of(kind, each.schema["type"])]
    return next(iter(fitting), worded[0].words if worded else None)


def _is_of(kind: str, type_: str) -> bool:
    return kind.startswith(type_) or (type_ == "datetime" and kind.startswith("timezone"))


def _inner(schema: _Schema, step: int | str) -> list[_Schema]:
    """What looks at the values to which a step leads from this one; nothing if to none."""
    if "values_schema" in schema:
        return [schema["values_schema"]]
    if "items_schema" in schema and isinstance(step, int):
        items = schema["items_schema"]
        return items if isinstance(items, list) else [items]
    fields = (
        schema["arguments_schema"] if schema["type"] == "arguments" else schema.get("fields", ())
    )
    if isinstance(fields, dict):
        fields = [{"name": name, **field} for name, field in fields.items()]
    return [each["schema"] for each in fields if isinstance(each, dict) and _is_called(each, step)]


def _is_called(field: _Schema, step: int | str) -> bool:
    alias = field.get("validation_alias")
    return step in (field["name"], alias) or (isinstance(alias, list) and [step] in alias)


def _parts(node: _Node, step: int | str) -> list[_Node]:
    """The parts of a union, those that a step names if it can be told."""
    choices = node.schema.get("choices", ())
    if isinstance(choices, dict):
        named = [each for tag, each in choices.items() if str(tag) == str(step)]
        choices = named or choices.values()
    parts = [each[0] if isinstance(each, tuple) else each for each in choices]
    return [_Node(each, node.words) for each in parts]
