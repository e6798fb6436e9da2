"""The one message schema: an order, a batch of them on the queue, and the payment that settles one.

Both queue modes carry the same ``OrderBatch`` as the same UTF-8 JSON bytes. An order has one
canonical encoding, written once at intake: its digest decides what "the same content" means, the
journal keeps it, and a batch is those bytes joined.

Parsing is the hottest path there is. What makes it fast is ``validate_json`` on whole values (no
Python dictionaries in between), patterns and dates checked inside pydantic's compiled core, and a
cyclic garbage collector that stays out of the way: see ``tune_gc``.
"""

from __future__ import annotations

import gc
import json
import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, NamedTuple, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    StringConstraints,
    ValidationError,
    model_validator,
)
from pydantic_core import PydanticCustomError, core_schema

from shared.currencies import Currency  # noqa: TC001  pydantic reads it
from shared.errors import InvalidBatch, InvalidOrder, Reason

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pydantic.json_schema import JsonSchemaValue

SCHEMA_VERSION: Final = 1
MAX_TOTAL = 2**63 - 1
"""The largest total of an order in minor units: what a 64-bit database integer holds."""

_ID_PATTERN = r"^[A-Za-z0-9._:-]*$"
_PRINTABLE_PATTERN = r"^[ [^\p{C}\p{Z}]]*$"
_RFC3339_PATTERN = r"^\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)$"

Id = Annotated[str, StringConstraints(min_length=1, max_length=64, pattern=_ID_PATTERN)]
Sku = Annotated[str, StringConstraints(min_length=1, max_length=64, pattern=_PRINTABLE_PATTERN)]


class _UtcTime:
    """An instant, written in RFC 3339 with an offset and kept in UTC.

    The pattern comes first because pydantic alone would also take Unix times, blanks and times
    without seconds.
    """

    @classmethod
    def __get_pydantic_core_schema__(
        cls, _source: object, _handler: GetCoreSchemaHandler
    ) -> core_schema.CoreSchema:
        text = core_schema.chain_schema(
            [
                core_schema.str_schema(strict=True, pattern=_RFC3339_PATTERN),
                core_schema.datetime_schema(strict=False, tz_constraint="aware"),
            ]
        )
        instant = core_schema.datetime_schema(strict=True, tz_constraint="aware")
        return core_schema.no_info_after_validator_function(
            _to_utc,
            core_schema.json_or_python_schema(
                json_schema=text, python_schema=core_schema.union_schema([instant, text])
            ),
        )

    @classmethod
    def __get_pydantic_json_schema__(
        cls, _schema: core_schema.CoreSchema, _handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        return {"type": "string", "format": "date-time", "pattern": _RFC3339_PATTERN}


def _to_utc(instant: datetime) -> datetime:
    if instant.tzinfo == UTC:
        return instant
    try:
        return instant.astimezone(UTC)
    except OverflowError:
        raise PydanticCustomError("time_range", "must be between the years 1 and 9999") from None


class _Model(BaseModel):
    model_config = ConfigDict(strict=True, frozen=True, extra="forbid")


class LineItem(_Model):
    """One line of an order: what, how many, and the price of one in minor units."""

    sku: Sku
    quantity: Annotated[int, Field(ge=1, le=1_000_000)]
    unit_price: Annotated[int, Field(ge=0, le=10**12, description="minor units of the currency")]


class Order(_Model):
    """What a customer wants to buy. Two orders are the same when they are equal as parsed."""

    order_id: Id
    customer_id: Id
    currency: Currency
    placed_at: Annotated[datetime, _UtcTime]
    items: Annotated[tuple[LineItem, ...], Field(min_length=1, max_length=500)]

    @property
    def total(self) -> int:
        """What the order costs, in minor units of its currency."""
        return sum([item.quantity * item.unit_price for item in self.items])

    @model_validator(mode="after")
    def _total_fits(self) -> Self:
        if self.total > MAX_TOTAL:
            raise PydanticCustomError("total_range", "must be below 2^63 minor units")
        return self


class OrderBatch(_Model):
    """What the queue carries: consecutive orders of one partition, as the journal numbered them.

    Without orders it is a nudge: settle what the journal holds.
    """

    schema_version: Literal[1]
    ledger_id: Id
    partition: Annotated[int, Field(ge=0)]
    first: Annotated[int, Field(ge=0, description="journal number of the first order")]
    last: Annotated[int, Field(ge=0, description="journal number of the last order")]
    orders: tuple[Order, ...]

    @model_validator(mode="after")
    def _numbers_match(self) -> Self:
        if self.orders and len(self.orders) != self.last - self.first + 1:
            raise PydanticCustomError("numbering", "must count as many numbers as orders")
        return self


class Message(NamedTuple):
    """An encoded OrderBatch and the partition it is for."""

    partition: int
    body: bytes


PaymentStatus = Literal["paid", "declined", "dead"]


class Payment(_Model):
    """An order's outcome.

    ``amount`` is what the order costs in minor units: taken if it was paid, asked for if not.
    """

    order_id: Id
    status: PaymentStatus
    amount: Annotated[int, Field(ge=0, le=MAX_TOTAL)]
    currency: Currency
    attempts: Annotated[int, Field(ge=0)]
    reason: str | None
    settled_at: datetime
    worker: str


_parse_order = Order.__pydantic_validator__.validate_json
_parse_batch = OrderBatch.__pydantic_validator__.validate_json
_dump_order = Order.__pydantic_serializer__.to_json


def parse_order(raw: bytes | str) -> tuple[Order, bytes]:
    """Parse one JSON order; return it with its canonical encoding.

    Raises:
        InvalidOrder: With every rule that it breaks.
    """
    try:
        order = _parse_order(raw)
    except ValidationError as error:
        raise InvalidOrder(_reasons(error)) from None
    canonical = _dump_order(order)
    if canonical != raw:
        # JSON leaves open which of two equal keys counts; where money hangs on it, neither does.
        _refuse_repeated_keys(raw)
    return order, canonical


def build_order(fields: dict[str, Any]) -> tuple[Order, bytes]:
    """Validate an order given as Python values; return it with its canonical encoding.

    Raises:
        InvalidOrder: With every rule that it breaks.
    """
    try:
        order = Order.model_validate(fields)
    except ValidationError as error:
        raise InvalidOrder(_reasons(error)) from None
    return order, _dump_order(order)


def encode_order(order: Order) -> bytes:
    """Write an order in its canonical encoding."""
    return _dump_order(order)


def encode_batch(ledger_id: str, partition: int, first: int, orders: Sequence[bytes]) -> bytes:
    """Join canonical orders into an encoded OrderBatch; ``first`` is the number of the first."""
    head = (
        f'{{"schema_version":{SCHEMA_VERSION},"ledger_id":"{ledger_id}","partition":{partition},'
        f'"first":{first},"last":{first + len(orders) - 1},"orders":['
    )
    return b"".join((head.encode(), b",".join(orders), b"]}"))


def encode_nudge(ledger_id: str, partition: int) -> bytes:
    """Encode the OrderBatch that carries no orders: look at what the journal holds."""
    nudge = OrderBatch(
        schema_version=SCHEMA_VERSION,
        ledger_id=ledger_id,
        partition=partition,
        first=0,
        last=0,
        orders=(),
    )
    return nudge.model_dump_json().encode()


def decode_batch(raw: bytes | str) -> OrderBatch:
    """Parse a queue message.

    Raises:
        InvalidBatch: It is not an OrderBatch of this schema version.
    """
    try:
        batch: OrderBatch = _parse_batch(raw)
    except ValidationError as error:
        raise InvalidBatch("; ".join(str(reason) for reason in _reasons(error)[:3])) from None
    return batch


class BatchHeader(NamedTuple):
    """What a message claims to be, without its orders.

    Attributes:
        is_nudge: It carries no orders.
    """

    ledger_id: str
    partition: int
    first: int
    last: int
    is_nudge: bool


_HEADER = re.compile(
    rb'\{"schema_version":1,"ledger_id":"([0-9a-zA-Z._:-]{1,64})","partition":(\d{1,9}),'
    rb'"first":(\d{1,18}),"last":(\d{1,18}),"orders":\[(\]\}$)?'
)


def read_header(raw: bytes) -> BatchHeader:
    """Read what a queue message claims to be, and look at its orders only if it is unusual.

    Every genuine message begins as ``encode_batch`` wrote it. Most of them need not be parsed: a
    consumer that lags reads the journal, and meets its messages when their orders are settled.

    Raises:
        InvalidBatch: It is not an OrderBatch of this schema version.
    """
    match = _HEADER.match(raw)
    if match is not None:
        ledger_id, partition, first, last, end = match.groups()
        return BatchHeader(
            ledger_id.decode(), int(partition), int(first), int(last), is_nudge=end is not None
        )
    batch = decode_batch(raw)
    return BatchHeader(
        batch.ledger_id, batch.partition, batch.first, batch.last, is_nudge=not batch.orders
    )


def tune_gc() -> None:
    """Keep the cyclic garbage collector out of a process that parses many orders.

    Orders hold no cycles, but each one makes a dozen containers, and collections that find nothing
    took more than half of the parsing time. Everything imported so far is set aside as permanent.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(200_000, 20, 20)


def _refuse_repeated_keys(raw: bytes | str) -> None:
    def check(pairs: list[tuple[str, Any]]) -> None:
        seen = {key for key, _ in pairs}
        if len(seen) != len(pairs):
            keys = [key for key, _ in pairs]
            twice = next(key for key in keys if keys.count(key) > 1)
            raise InvalidOrder([Reason(twice, "must not be given twice")])

    json.loads(raw, object_pairs_hook=check)


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
    _ID_PATTERN: "must consist of A-Z a-z 0-9 . _ : -",
    _PRINTABLE_PATTERN: "must consist of printable characters",
    _RFC3339_PATTERN: "must be an RFC 3339 time with an offset, like 2026-01-31T09:30:00Z",
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
_SHOWN = 40


def _reasons(error: ValidationError) -> list[Reason]:
    """Say in an operator's words what pydantic found."""
    reasons: list[Reason] = []
    for detail in error.errors(include_url=False):
        kind, context = detail["type"], detail.get("ctx", {})
        if kind == "too_short" and reasons:
            continue  # pydantic counts only the items that were valid
        if kind == "datetime_type":
            continue  # a text is no datetime; what is wrong with the text follows
        if kind == "string_pattern_mismatch":
            rule = _PATTERN_RULES[context["pattern"]]
        elif kind.startswith(("datetime", "timezone")):
            rule = "must be a time that exists, with an offset"
        elif kind == "json_invalid":
            # The parser saw one line: which one of the file, the place says.
            rule = f"must be JSON ({context['error'].replace('line 1 column', 'column')})"
        elif kind == "literal_error" and detail["loc"][-1] == "schema_version":
            rule = f"must be {SCHEMA_VERSION}"
        else:
            rule = _RULES[kind].format(**context) if kind in _RULES else detail["msg"]
        where = _place(detail["loc"])
        if kind == "total_range":
            where = "total"
        value = "" if kind in _WITHOUT_VALUE else _show(detail["input"])
        reason = Reason(where, rule, value)
        if reason not in reasons:
            reasons.append(reason)
    return reasons


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
    return place[:100] or "order"


def _show(value: object) -> str:
    text = repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}… ({len(text):,} characters)"
