"""What is wrong with fields that people add to an order: told by the constraint, whatever it is."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from ipaddress import IPv4Address
from typing import Annotated, Any, Literal, NamedTuple, Self, get_args
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import (
    UUID4,
    AfterValidator,
    AnyUrl,
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    FutureDate,
    HttpUrl,
    IPvAnyAddress,
    Json,
    NaiveDatetime,
    PastDatetime,
    PostgresDsn,
    RootModel,
    Tag,
    ValidationError,
    WrapValidator,
    create_model,
    model_validator,
)
from pydantic_core import PydanticCustomError, PydanticOmit
from pydantic_core.core_schema import ErrorType

from shared.reasons import Says, broken, reasons_of
from shared.schema import Order
from shared.texts import legible
from tests.support.inputs import order
from tests.support.strategies import examples

MOST_CHARACTERS = 400
"""A reason is a line of a log, and part of an answer."""


class Kind(Enum):
    WEB = "web"
    SHOP = "shop"


class Part(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")


class Card(Part):
    by: Literal["card"]
    digits: Annotated[str, Field(min_length=4)]


class Voucher(Part):
    by: Literal["voucher"]
    code: int
    worth: int


class Tree(Part):
    height: int = 0
    branches: list[Tree] = []


class Span(Part):
    first: int
    last: int

    @model_validator(mode="after")
    def _follow(self) -> Self:
        if self.first > self.last:
            raise broken("last", "must not come before first")
        if self.first == self.last:
            raise ValueError("spans nothing")
        return self


class Point(NamedTuple):
    x: int
    y: int


class Scores(RootModel[list[int]]):
    pass


def refuse(text: str) -> AfterValidator:
    def check(_value: object) -> object:
        raise ValueError(text)

    return AfterValidator(check)


def insist(value: int) -> int:
    if value < 5:
        raise AssertionError("must be five or more")
    return value


def sell_out(value: int) -> int:
    raise PydanticCustomError("sold_out", "has no more than {left} left", {"left": value})


def borrow_a_name(_value: int) -> int:
    raise PydanticCustomError("less_than", "must be less, {by} is too much", {"by": 3})


def which(value: object) -> str | None:
    return "number" if isinstance(value, int) else "card" if isinstance(value, dict) else None


Hex = Annotated[str, Field(pattern="^#[0-9a-f]{6}$", max_length=7)]
Tagged = Annotated[Card | Voucher, Field(discriminator="by")]
Chosen = Annotated[
    Annotated[Card, Tag("card")] | Annotated[int, Field(ge=3), Tag("number")], Discriminator(which)
]
CENTURY = datetime(2001, 1, 1, tzinfo=UTC)


def told(kind: Any, raw: str) -> list[str]:
    """Say what is wrong with an order that has such a field more; nothing if it is valid."""
    model = create_model("Mine", __base__=Order, added=(kind, ...))
    text = json.dumps(order())
    try:
        model.model_validate_json(f'{text[:-1]}, "added": {raw}}}')
    except ValidationError as error:
        return [str(reason) for reason in reasons_of(error.errors(), model)]
    return []


@pytest.mark.parametrize(
    ("kind", "raw", "why"),
    [
        (Literal["web", "shop"], '"fax"', "must be 'web' or 'shop', not 'fax'"),
        (Literal["web", "shop"], "[]", "must be 'web' or 'shop', not []"),
        (Literal[1], "2", "must be 1, not 2"),
        (Kind, '"fax"', "must be 'web' or 'shop', not 'fax'"),
        (bool, "1", "must be true or false, not 1"),
        (None, "1", "must be null, not 1"),
        (int | None, '"1"', "must be a whole number, not '1'"),
        (float, '"1"', "must be a number, not '1'"),
        (float, "NaN", "must be a finite number, not nan"),
        (float, "1e999", "must be a finite number, not inf"),
        (Decimal, '"a"', "must be a decimal number, not 'a'"),
        (Decimal, "true", "must be a decimal number, not True"),
        (Annotated[int, Field(gt=3000)], "3000", "must be greater than 3,000, not 3000"),
        (Annotated[int, Field(ge=3)], "2", "must be at least 3, not 2"),
        (Annotated[float, Field(lt=0.5)], "0.5", "must be less than 0.5, not 0.5"),
        (Annotated[float, Field(lt=2)], "2.5", "must be less than 2, not 2.5"),
        (Annotated[Decimal, Field(le=Decimal("0.5"))], '"1"', "must be at most 0.5, not '1'"),
        (Annotated[int, Field(multiple_of=5)], "3", "must be a multiple of 5, not 3"),
        (Annotated[Decimal, Field(max_digits=2)], '"123"', "must have at most 2 digits, not '123'"),
        (
            Annotated[Decimal, Field(decimal_places=1)],
            "0.25",
            "must have at most 1 decimal, not 0.25",
        ),
        (
            Annotated[Decimal, Field(max_digits=3, decimal_places=2)],
            '"12.3"',
            "must have at most 1 digit before the point, not '12.3'",
        ),
        (str, "1", "must be a string, not 1"),
        (Annotated[str, Field(min_length=1)], '""', "must not be empty, not ''"),
        (Annotated[str, Field(min_length=2)], '"a"', "must have at least 2 characters, not 'a'"),
        (Annotated[str, Field(max_length=1)], '"ab"', "must have at most 1 character, not 'ab'"),
        (
            Annotated[str, Field(max_length=8)],
            f'"{"a" * 9}"',
            "must have at most 8 characters, not 'aaaaaaaaa'",
        ),
        (Hex, '"red"', "must match ^#[0-9a-f]{6}$, not 'red'"),
        (Annotated[bytes, Field(max_length=2)], '"abc"', "must have at most 2 bytes, not 'abc'"),
        (bytes, "1", "must be a string, not 1"),
        (date, '"2026-02-30"', "must be a date like 2026-01-31, not '2026-02-30'"),
        (date, "1", "must be a date like 2026-01-31, not 1"),
        (
            Annotated[date, Field(ge=date(2026, 1, 1))],
            '"2025-12-31"',
            "must be at least 2026-01-01, not '2025-12-31'",
        ),
        (FutureDate, '"2001-01-01"', "must be in the future, not '2001-01-01'"),
        (datetime, '"noon"', "must be a date and time like 2026-01-31T09:30:00, not 'noon'"),
        (PastDatetime, '"2999-01-01T00:00:00Z"', "must be in the past, not '2999-01-01T00:00:00Z'"),
        (
            AwareDatetime,
            '"2026-01-31T09:30:00"',
            "must have an offset, like 2026-01-31T09:30:00Z, not '2026-01-31T09:30:00'",
        ),
        (
            NaiveDatetime,
            '"2026-01-31T09:30:00Z"',
            "must have no offset, like 2026-01-31T09:30:00, not '2026-01-31T09:30:00Z'",
        ),
        (
            Annotated[datetime, Field(gt=CENTURY)],
            '"2000-01-01T00:00:00Z"',
            "must be greater than 2001-01-01T00:00:00Z, not '2000-01-01T00:00:00Z'",
        ),
        (time, '"25:00:00"', "must be a time of day like 09:30:00, not '25:00:00'"),
        (
            Annotated[time, Field(le=time(12))],
            '"13:00:00"',
            "must be at most 12:00:00, not '13:00:00'",
        ),
        (timedelta, '"long"', "must be a duration like PT1H30M, not 'long'"),
        (
            Annotated[timedelta, Field(le=timedelta(hours=1))],
            '"PT2H"',
            "must be at most 1 hour, not 2:00:00",
        ),
        (UUID, '"a-1"', "must be a UUID, not 'a-1'"),
        (
            UUID4,
            '"00000000-0000-1000-8000-000000000000"',
            "must be a UUID of version 4, not '00000000-0000-1000-8000-000000000000'",
        ),
        (AnyUrl, '"shop"', "must be a URL, not 'shop'"),
        (
            HttpUrl,
            '"ftp://shop"',
            "must be a URL that begins with 'http' or 'https', not 'ftp://shop'",
        ),
        (IPv4Address, '"localhost"', "Expected 4 octets in 'localhost'"),
        (IPvAnyAddress, '"localhost"', "must be a valid IPv4 or IPv6 address, not 'localhost'"),
        (list[int], "1", "must be a list, not 1"),
        (set[int], "{}", "must be a list, not {}"),
        (Annotated[list[int], Field(min_length=2)], "[1]", "must have at least 2 entries"),
        (Annotated[list[int], Field(max_length=1)], "[1, 2]", "must have at most 1 entry"),
        (
            Annotated[set[int], Field(min_length=2)],
            "[1, 1]",
            "must have at least 2 different entries",
        ),
        (tuple[int, str], '[1, "a", 2]', "must have at most 2 entries"),
        (dict[str, int], "[]", "must be an object, not []"),
        (
            Annotated[dict[str, int], Field(max_length=1)],
            '{"a": 1, "b": 2}',
            "must have at most 1 entry",
        ),
        (Card, "1", "must be an object, not 1"),
        (Tagged, "1", "must be an object, not 1"),
        (Json[list[int]], '"["', "must be JSON (EOF while parsing a list at column 1)"),
        (int | str, "[]", "must be a whole number, or must be a string, not []"),
        (
            int | Annotated[str, Field(max_length=2)],
            '"abc"',
            "must have at most 2 characters, not 'abc'",
        ),
        (int | Literal["all"], '"none"', "must be a whole number, or must be 'all', not 'none'"),
        (
            Annotated[str | list[str], Field(max_length=2)],
            '"abc"',
            "must have at most 2 characters, not 'abc'",
        ),
        (Chosen, "1", "must be at least 3, not 1"),
        (Chosen, '"a"', "must be of a known kind, not 'a'"),
        (Annotated[int, refuse("must be even")], "3", "must be even, not 3"),
        (Annotated[str, refuse("has expired")], '"SPRING"', "has expired ('SPRING')"),
        (
            Annotated[str, refuse("code 'SPRING' has expired")],
            '"SPRING"',
            "code 'SPRING' has expired",
        ),
        (Annotated[int, refuse("")], "3", "must be valid, not 3"),
        (
            Annotated[str, refuse("must be\none\x1b[31m line")],
            '"a"',
            "must be\\none\\x1b[31m line, not 'a'",
        ),
        (Annotated[int, AfterValidator(insist)], "3", "must be five or more, not 3"),
        (Annotated[int, AfterValidator(sell_out)], "3", "has no more than 3 left"),
        (Annotated[int, AfterValidator(borrow_a_name)], "7", "must be less, 3 is too much, not 7"),
        (
            Annotated[int, WrapValidator(lambda value, check: check(value))],
            '"a"',
            "must be a whole number, not 'a'",
        ),
        (Span, '{"first": 1, "last": 1}', "spans nothing"),
    ],
)
def test_a_constraint_is_worded_by_what_it_demands(kind: Any, raw: str, why: str) -> None:
    assert told(kind, raw) == [f"added: {why}"]


@pytest.mark.parametrize(
    ("kind", "raw", "why"),
    [
        (list[int], '[1, "a"]', ["added[1]: must be a whole number, not 'a'"]),
        (
            Annotated[list[int], Field(min_length=3)],
            '[1, "a", "b"]',
            [
                "added[1]: must be a whole number, not 'a'",
                "added[2]: must be a whole number, not 'b'",
            ],
        ),
        (tuple[int, str], "[1]", ["added[1]: is required"]),
        (set[Any], "[[]]", ["added[0]: must not be a list or an object"]),
        (dict[str, int], '{"a b": "c"}', ["added.'a b': must be a whole number, not 'c'"]),
        (
            dict[Annotated[str, Field(min_length=2)], int],
            '{"a": "b"}',
            [
                "key added.a: must have at least 2 characters, not 'a'",
                "added.a: must be a whole number, not 'b'",
            ],
        ),
        (
            Card,
            '{"by": "card", "digits": "1", "x": 1}',
            [
                "added.digits: must have at least 4 characters, not '1'",
                "added.x: is not a field of an order",
            ],
        ),
        (Point, '{"x": 1, "y": "a"}', ["added.y: must be a whole number, not 'a'"]),
        (Scores, '["a"]', ["added[0]: must be a whole number, not 'a'"]),
        (
            Tree,
            '{"branches": [{"branches": [{"height": "a"}]}]}',
            ["added.branches[0].branches[0].height: must be a whole number, not 'a'"],
        ),
        (Span, '{"first": 2, "last": 1}', ["added.last: must not come before first"]),
        (Json[list[int]], '"[\\"a\\"]"', ["added[0]: must be a whole number, not 'a'"]),
        (Tagged, '{"by": "cheque"}', ["added.by: must be one of 'card', 'voucher', not 'cheque'"]),
        (Tagged, "{}", ["added.by: is required"]),
        (
            Tagged,
            '{"by": "card", "digits": "1"}',
            ["added.digits: must have at least 4 characters, not '1'"],
        ),
        (Chosen, '{"by": "card"}', ["added.digits: is required"]),
        (Card | Voucher, '{"by": "card"}', ["added.digits: is required"]),
        (list[Card] | Card | int, '[{"by": "card"}]', ["added[0].digits: is required"]),
        (
            dict[str, int | list[int]],
            '{"int": ["a"]}',
            ["added.int[0]: must be a whole number, not 'a'"],
        ),
        (
            list[Annotated[int, WrapValidator(lambda value, check: check(value))] | Card],
            '["a"]',
            ["added[0]: must be a whole number, or must be an object, not 'a'"],
        ),
    ],
)
def test_a_place_is_what_the_sender_sees_and_no_step_within_a_type(
    kind: Any, raw: str, why: list[str]
) -> None:
    assert told(kind, raw) == why


Colour = Annotated[Hex, Says("must be a colour like #00ff00")]


@pytest.mark.parametrize(
    ("kind", "raw", "why"),
    [
        (Colour, '"red"', "added: must be a colour like #00ff00, not 'red'"),
        (Colour, '"#00ff000"', "added: must have at most 7 characters, not '#00ff000'"),
        (Colour, "1", "added: must be a string, not 1"),
        (Colour | None, '"red"', "added: must be a colour like #00ff00, not 'red'"),
        (list[Colour], '["red"]', "added[0]: must be a colour like #00ff00, not 'red'"),
        (Colour | int, '"red"', "added: must be a colour like #00ff00, not 'red'"),
        (
            Annotated[Kind, Says("must be web or shop")] | Annotated[UUID, Says("must be a till")],
            '"fax"',
            "added: must be a till, not 'fax'",
        ),
        (
            Annotated[Kind, Says("must be web or shop")],
            '"fax"',
            "added: must be web or shop, not 'fax'",
        ),
        (
            Annotated[UUID, Says("must be a till's id")],
            '"a"',
            "added: must be a till's id, not 'a'",
        ),
        (Annotated[UUID, Says("must be a till's id")], "1", "added: must be a UUID, not 1"),
    ],
)
def test_a_field_may_say_it_better_where_a_rule_has_no_words(kind: Any, raw: str, why: str) -> None:
    assert told(kind, raw) == [why]


def test_a_field_that_goes_by_another_name_is_called_by_it() -> None:
    assert told(Annotated[int, Field(alias="of them")], '1, "of them": "a"') == [
        "'of them': must be a whole number, not 'a'",
        "added: is not a field of an order",
    ]


def test_a_default_that_would_not_come_back_from_the_journal_is_refused() -> None:
    model = create_model("Mine", __base__=Order, added=(Decimal, 0))
    with pytest.raises(ValidationError) as refused:
        model.model_validate_json(json.dumps(order()))
    (reason,) = reasons_of(refused.value.errors(), model)
    assert str(reason) == "added: must be an instance of Decimal, not 0"


def test_a_list_that_lost_entries_without_an_error_is_told_to_be_too_short() -> None:
    def leave_out(_value: object) -> object:
        raise PydanticOmit

    kind = Annotated[list[Annotated[int, AfterValidator(leave_out)]], Field(min_length=1)]
    assert told(kind, "[1]") == ["added: must have at least 1 entry"]


def test_of_very_many_parts_the_rule_is_cut() -> None:
    many: Any = Literal[tuple(f"shop-{number}" for number in range(1000))]
    (why,) = told(many, '"fax"')
    assert why.startswith("added: must be 'shop-0', 'shop-1', ")
    assert why.endswith(" more), not 'fax'")
    assert len(why) < MOST_CHARACTERS


KINDS: list[Any] = [
    *(Literal["a", 1, True], Kind, bool, int, float, Decimal, str, Hex, bytes, date, datetime),
    *(time, timedelta, UUID, AnyUrl, IPvAnyAddress, Json[int], Any, None, Point, Scores, Tree),
    *(Card, Tagged, Chosen, Span, Card | Voucher | int, Colour | Kind | list[UUID], int | None),
    *(list[int | str], set[Any], frozenset[Kind], tuple[int, str], dict[UUID, Tagged | list[int]]),
    *(dict[Hex, int], Annotated[int, refuse("")], Annotated[Any, refuse("\n")], PostgresDsn),
]
texts = st.text(max_size=8) | st.sampled_from(["a\nb", "\x1b[31m", "\u202e", "", "#00ff00"])
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | texts,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["by", "x", "first"]) | texts, inner, max_size=3)
    ),
    max_leaves=6,
)
contexts = st.dictionaries(
    st.sampled_from(
        [
            *("gt", "ge", "le", "lt", "multiple_of", "pattern", "expected", "error", "tag"),
            *("min_length", "max_length", "actual_length", "field_type", "max_digits"),
            *("discriminator", "expected_tags", "tz_expected", "expected_version"),
        ]
    ),
    json_values
    | st.sampled_from(["'kind'", "Set", 10**5000, Decimal("sNaN"), float("nan"), CENTURY]),
)


@settings(deadline=None, max_examples=examples(400))
@given(st.sampled_from(KINDS), json_values)
def test_whatever_stands_in_a_field_of_any_kind_is_told_in_lines(kind: Any, value: object) -> None:
    for why in told(kind, json.dumps(value)):
        assert_is_a_line(why)


@settings(deadline=None, max_examples=examples(400))
@given(
    st.sampled_from([*get_args(ErrorType), "of_ones_own"]),
    st.lists(st.integers(0, 3) | texts | st.sampled_from(["items", "sku", "[key]"]), max_size=4),
    texts,
    json_values,
    contexts,
)
def test_whatever_pydantic_finds_is_told_in_a_line(
    kind: str, loc: list[int | str], message: str, value: object, context: dict[str, Any]
) -> None:
    detail: Any = {"type": kind, "loc": tuple(loc), "msg": message, "input": value, "ctx": context}
    (reason,) = reasons_of([detail], Order)
    assert reason.where
    assert reason.rule
    assert_is_a_line(str(reason))


def assert_is_a_line(why: str) -> None:
    assert why == legible(why, MOST_CHARACTERS)
