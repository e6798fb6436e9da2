"""Fields that somebody adds to an order, in a copy of the project: each way in words what is wrong.

The copy's `shared/schema.py` is edited as README invites people to, and the command is started as
they would. What is asked for is the wording, and neither a traceback nor a 500.
"""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.inputs import csv_of, item, jsonl_of, order, row
from tests.support.orderly import ROOT, Orderly
from tests.support.server import Server, lines, problem_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

IMPORTS = """
from datetime import date, time, timedelta
from decimal import Decimal
from enum import Enum
from ipaddress import IPv4Address
from uuid import UUID
from pydantic import AfterValidator, AwareDatetime, HttpUrl, field_validator
"""
TYPES = """
class Size(Enum):
    SMALL = "S"
    LARGE = "L"

class Card(_Model):
    by: Literal["card"]
    digits: Annotated[str, Field(min_length=4)]

class Voucher(_Model):
    by: Literal["voucher"]
    code: int

def _is_even(value: int) -> int:
    if value % 2:
        raise ValueError("must be even")
    return value

"""
FIELDS = """
    channel: Literal["web", "shop"] = "web"
    size: Size | None = None
    gift: bool = False
    weight: Annotated[float, Field(gt=0, lt=1000.5)] = 1.0
    pieces: Annotated[int, Field(ge=2, multiple_of=2)] = 2
    discount: Annotated[Decimal, Field(le=50, max_digits=4, decimal_places=2)] = Decimal(0)
    till: Annotated[str, Field(min_length=2, max_length=8)] = "t1"
    batch: Annotated[str, Field(pattern=r"^[A-Z]{3}-\\d+$")] = "ABC-1"
    colour: Annotated[
        str, Field(pattern="^#[0-9a-f]{6}$"), Says("must be a colour like #00ff00")
    ] = "#000000"
    due: date | None = None
    opens: time | None = None
    seen_at: AwareDatetime | None = None
    within: Annotated[timedelta, Field(le=timedelta(days=1))] | None = None
    tracking: UUID | None = None
    link: HttpUrl | None = None
    payment: Annotated[Card | Voucher, Field(discriminator="by")] | None = None
    tags: Annotated[tuple[Annotated[str, Field(max_length=5)], ...], Field(max_length=3)] = ()
    prices: dict[str, Annotated[int, Field(ge=0)]] = {}
    place: int | tuple[int, int] | None = None
    till_address: IPv4Address | None = None
    number_of: Annotated[int, Field(alias="number of")] = 0
    parity: Annotated[int, AfterValidator(_is_even)] = 0
    coupon: str = ""

    @field_validator("coupon")
    @classmethod
    def _is_open(cls, coupon: str) -> str:
        if coupon == "SPRING":
            raise PydanticCustomError("expired", "has expired in {month}", {"month": "June"})
        return coupon

    @model_validator(mode="after")
    def _is_somebody(self) -> Self:
        if self.customer_id == "nobody":
            raise broken("customer_id", "must be somebody")
        if self.customer_id == "barred":
            raise ValueError("the customer is barred")
        return self
"""
ITEM_FIELDS = """
    best_before: date | None = None
"""
GOOD: dict[str, Any] = {
    "channel": "shop",
    "size": "L",
    "gift": True,
    "weight": 12,
    "discount": "12.50",
    "colour": "#00ff00",
    "due": "2026-02-28",
    "opens": "09:30:00",
    "seen_at": "2026-01-31T09:30:00+01:00",
    "within": "PT2H",
    "tracking": "00000000-0000-4000-8000-000000000000",
    "link": "https://shop.example.com/a",
    "payment": {"by": "card", "digits": "1234"},
    "tags": ["tea", "new"],
    "prices": {"tea": 3},
    "place": [1, 2],
    "till_address": "127.0.0.1",
    "number of": 3,
}
BAD: list[tuple[dict[str, Any], list[str]]] = [
    ({"channel": "fax"}, ["channel: must be 'web' or 'shop', not 'fax'"]),
    ({"size": "M"}, ["size: must be 'S' or 'L', not 'M'"]),
    ({"gift": 1}, ["gift: must be true or false, not 1"]),
    ({"weight": 0}, ["weight: must be greater than 0, not 0"]),
    ({"weight": 1000.5}, ["weight: must be less than 1,000.5, not 1000.5"]),
    ({"weight": float("nan")}, ["weight: must be a finite number, not nan"]),
    ({"pieces": 0}, ["pieces: must be at least 2, not 0"]),
    ({"pieces": 3}, ["pieces: must be a multiple of 2, not 3"]),
    ({"discount": "50.5"}, ["discount: must be at most 50, not '50.5'"]),
    ({"discount": "0.125"}, ["discount: must have at most 2 decimals, not '0.125'"]),
    ({"discount": "half"}, ["discount: must be a decimal number, not 'half'"]),
    ({"till": "t"}, ["till: must have at least 2 characters, not 't'"]),
    ({"till": "till-1234"}, ["till: must have at most 8 characters, not 'till-1234'"]),
    ({"batch": "abc"}, ["batch: must match ^[A-Z]{3}-\\d+$, not 'abc'"]),
    ({"colour": "red"}, ["colour: must be a colour like #00ff00, not 'red'"]),
    ({"due": "2026-02-30"}, ["due: must be a date like 2026-01-31, not '2026-02-30'"]),
    ({"opens": "noon"}, ["opens: must be a time of day like 09:30:00, not 'noon'"]),
    (
        {"seen_at": "2026-01-31T09:30:00"},
        ["seen_at: must have an offset, like 2026-01-31T09:30:00Z, not '2026-01-31T09:30:00'"],
    ),
    ({"within": "P2D"}, ["within: must be at most 1 day, not 2 days, 0:00:00"]),
    ({"tracking": "a-1"}, ["tracking: must be a UUID, not 'a-1'"]),
    (
        {"link": "ftp://a"},
        ["link: must be a URL that begins with 'http' or 'https', not 'ftp://a'"],
    ),
    ({"payment": {"by": "gold"}}, ["payment.by: must be one of 'card', 'voucher', not 'gold'"]),
    ({"payment": {"by": "card"}}, ["payment.digits: is required"]),
    ({"tags": ["tea", "expired"]}, ["tags[1]: must have at most 5 characters, not 'expired'"]),
    ({"tags": ["a"] * 4}, ["tags: must have at most 3 entries"]),
    ({"prices": {"tea": -1}}, ["prices.tea: must be at least 0, not -1"]),
    ({"place": "here"}, ["place: must be a whole number, or must be a list, not 'here'"]),
    ({"place": [1, "a"]}, ["place[1]: must be a whole number, not 'a'"]),
    ({"till_address": "here"}, ["till_address: Expected 4 octets in 'here'"]),
    ({"number of": "a"}, ["'number of': must be a whole number, not 'a'"]),
    ({"parity": 3}, ["parity: must be even, not 3"]),
    ({"coupon": "SPRING"}, ["coupon: has expired in June ('SPRING')"]),
    ({"customer_id": "nobody"}, ["customer_id: must be somebody"]),
    ({"customer_id": "barred"}, ["order: the customer is barred"]),
    ({"currency": "usd"}, ["currency: must be an active ISO 4217 code, not 'usd'"]),
    ({"customer_id": "a b"}, ["customer_id: must consist of A-Z a-z 0-9 . _ : -, not 'a b'"]),
    (
        {"channel": "fax", "gift": 1, "size": "M"},
        [
            "channel: must be 'web' or 'shop', not 'fax'",
            "size: must be 'S' or 'L', not 'M'",
            "gift: must be true or false, not 1",
        ],
    ),
    (
        {
            "items": [
                {**item()["items"][0], "quantity": 0},
                {**item()["items"][0], "best_before": "2026-01-31"},
            ]
        },
        ["items[0].quantity: must be at least 1, not 0"],
    ),
    (
        item(best_before="soon"),
        ["items[0].best_before: must be a date like 2026-01-31, not 'soon'"],
    ),
]
TOTAL = "    @property\n    def total"


def bad_orders() -> list[dict[str, Any]]:
    """An order for each of what is bad, under ids of their own."""
    return [order(f"bad-{number}") | bad for number, (bad, _) in enumerate(BAD)]


def copied(folder: Path, *edits: tuple[str, str]) -> Orderly:
    """Copy the project, and put lines of one's own into its schema, each before others."""
    for name in ("shared", "services"):
        shutil.copytree(ROOT / name, folder / "copy" / name)
    schema = folder / "copy" / "shared" / "schema.py"
    text = schema.read_text()
    for lines_of_ones_own, before in edits:
        assert text.count(before) == 1, before
        text = text.replace(before, lines_of_ones_own + before)
    schema.write_text(text)
    return Orderly(folder, {"PYTHONPATH": str(folder / "copy")}, anew=True)


@pytest.fixture(scope="module")
def mine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Orderly]:
    """The command of a copy whose orders have fields of every kind."""
    orderly = copied(
        tmp_path_factory.mktemp("mine"),
        (IMPORTS + TYPES, "class LineItem(_Model)"),
        (ITEM_FIELDS, "\n\nclass Order(_Model)"),
        (f"{FIELDS}\n", TOTAL),
    )
    yield orderly
    orderly.close()


def rejected(orderly: Orderly, content: bytes, name: str, *, created: int) -> list[list[str]]:
    """Run a file of orders; return what is wrong with those that were rejected."""
    (orderly.folder / name).write_bytes(content)
    rejects = orderly.folder / f"{name}-rejects.jsonl"
    result = orderly("run", name, "--fresh", "--rejects", rejects)
    assert result.code == 0, result
    assert "Traceback" not in result.err
    assert orderly.totals()["paid"] == created
    return [json.loads(each)["reasons"] for each in rejects.read_text().splitlines()]


@pytest.mark.long
def test_a_file_says_what_is_wrong_with_a_field_of_ones_own(mine: Orderly) -> None:
    content = jsonl_of(order("good-1"), *bad_orders(), order("good-2") | GOOD)
    assert rejected(mine, content, "own.jsonl", created=2) == [why for _, why in BAD]
    kept = [json.loads(line) for line in mine("journal").out.splitlines()]
    assert {each["order_id"]: each["number of"] for each in kept} == {"good-1": 0, "good-2": 3}


def test_csv_says_it_by_its_line_and_leaves_fields_to_their_defaults(mine: Orderly) -> None:
    content = csv_of(row("good"), row("bad-1", customer="nobody"), row("bad-2", customer="barred"))
    assert rejected(mine, content, "own.csv", created=1) == [
        ["line 3 customer_id: must be somebody"],
        ["line 4 order: the customer is barred"],
    ]


@pytest.mark.long
def test_http_says_it_in_problems_and_in_answers_to_many(mine: Orderly) -> None:
    mine.environment["LEDGER_URL"] = "sqlite:///var/http.db"
    server = Server(mine).start()
    try:
        for fields, (_, why) in zip(bad_orders(), BAD, strict=True):
            document = problem_of(server.place(fields), 422, "invalid-order")
            assert document["detail"] == "; ".join(why)
            assert len(document["errors"]) == len(why)
        found = server.bulk(lines([*bad_orders(), order("good-1") | GOOD]))
        assert [each["code"] for each in found] == [422] * len(BAD) + [202]
        assert [each["error"] for each in found[:-1]] == ["; ".join(why) for _, why in BAD]
        assert server.place(order("good-1") | GOOD).status_code == 200
        assert server.settle()["paid"] == 1
        assert server.stop().code == 0
        assert server.logged(level="error") == []
        assert "Traceback" not in "".join(server.said)
    finally:
        server.close()
        del mine.environment["LEDGER_URL"]


@pytest.mark.long
def test_a_field_that_is_required_is_missing_in_every_row_of_csv(tmp_path: Path) -> None:
    orderly = copied(tmp_path, ('    channel: Literal["web", "shop"]\n\n', TOTAL))
    content = csv_of(row("a"), row("b"))
    assert rejected(orderly, content, "all.csv", created=0) == [
        ["line 2 channel: is required"],
        ["line 3 channel: is required"],
    ]
    content = jsonl_of(order("a") | {"channel": "web"}, order("b"))
    assert rejected(orderly, content, "all.jsonl", created=1) == [["channel: is required"]]
