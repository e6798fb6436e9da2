"""The one message schema: an order, a batch of them on the queue, and the payment that settles one.

Both queue modes carry the same ``OrderBatch`` as the same UTF-8 JSON bytes. An order has one
canonical encoding, written once at intake: its digest decides what "the same content" means, the
journal keeps it, and a batch is those bytes joined.

Parsing is the hottest path there is. What makes it fast is ``validate_json`` on whole values (no
Python dictionaries in between), patterns and dates checked inside pydantic's compiled core, and a
cyclic garbage collector that stays out of the way: see ``shared.collector``.

What is wrong with a field is told in words that follow from its constraints, whatever they are. For
a pattern, a choice, a format or a predicate there may be better ones: annotate the field with
``Says``, as ``Sku`` does.
"""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple, Self, get_args

from pydantic import (
    BaseModel,
    ConfigDict,
    FailFast,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    StringConstraints,
    ValidationError,
    model_validator,
)
from pydantic_core import PydanticCustomError, core_schema, from_json, to_json

from shared.currencies import Currency
from shared.errors import InvalidBatch, InvalidOrder, Reason
from shared.ids import ID_CHARACTER, ID_LENGTH, ID_WORDS
from shared.json_size import MOST_ITEMS, check_weight
from shared.reasons import Says, broken, reasons_of
from shared.texts import legible

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from pydantic.json_schema import JsonSchemaValue
    from pydantic_core import ErrorDetails

_Version = Literal[1]
SCHEMA_VERSION: _Version = get_args(_Version)[0]
MAX_TOTAL = 2**63 - 1
"""The largest total of an order in minor units: what a 64-bit database integer holds."""


Id = Annotated[
    str,
    StringConstraints(min_length=1, max_length=ID_LENGTH, pattern=f"^{ID_CHARACTER}*$"),
    Says(f"must consist of {ID_WORDS}"),
]
Sku = Annotated[
    str,
    StringConstraints(min_length=1, max_length=64, pattern=r"^(?: |[^\p{C}\p{Z}])*$"),
    Says("must consist of printable characters"),
]
CurrencyCode = Annotated[Currency, Says("must be an active ISO 4217 code")]

_RFC3339 = r"^\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)$"
_WRITTEN = Says("must be an RFC 3339 time with an offset, like 2026-01-31T09:30:00Z")
_EXISTING = Says("must be a time that exists, with an offset")


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
                _WRITTEN.of(core_schema.str_schema(strict=True, pattern=_RFC3339)),
                _EXISTING.of(core_schema.datetime_schema(strict=False, tz_constraint="aware")),
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
        return {"type": "string", "format": "date-time", "pattern": _RFC3339}


def _to_utc(instant: datetime) -> datetime:
    if instant.tzinfo == UTC:
        return instant
    try:
        return instant.astimezone(UTC)
    except OverflowError:
        raise PydanticCustomError("time_range", "must be between the years 1 and 9999") from None


class _Model(BaseModel):
    # The last three are for fields that somebody adds: what is written must be read again as it
    # was. JSON has no word for infinity, and a default of another type would come back as its own.
    model_config = ConfigDict(
        strict=True,
        frozen=True,
        extra="forbid",
        serialize_by_alias=True,
        allow_inf_nan=False,
        validate_default=True,
    )


class LineItem(_Model):
    """One line of an order: what, how many, and the price of one in minor units."""

    sku: Sku
    quantity: Annotated[int, Field(ge=1, le=1_000_000)]
    unit_price: Annotated[int, Field(ge=0, le=10**12, description="minor units of the currency")]


class Order(_Model):
    """What a customer wants to buy. Two orders are the same when they are equal as parsed."""

    order_id: Id
    customer_id: Id
    currency: CurrencyCode
    placed_at: Annotated[datetime, _UtcTime]
    # A thousand bad ones would cost a hundred times what a thousand good ones do: _all_findings
    # looks at the others when it is known that there are not too many.
    items: Annotated[tuple[LineItem, ...], Field(min_length=1, max_length=MOST_ITEMS), FailFast()]

    @property
    def total(self) -> int:
        """What the order costs, in minor units of its currency."""
        return sum([item.quantity * item.unit_price for item in self.items])

    @model_validator(mode="after")
    def _total_fits(self) -> Self:
        if self.total > MAX_TOTAL:
            raise broken("total", "must be below 2^63 minor units")
        return self


class OrderBatch(_Model):
    """What the queue carries: consecutive orders of one partition, as the journal numbered them.

    Without orders it is a nudge: settle what the journal holds.
    """

    schema_version: _Version
    ledger_id: Id
    partition: Annotated[int, Field(ge=0)]
    first: Annotated[int, Field(ge=0, description="journal number of the first order")]
    last: Annotated[int, Field(ge=0, description="journal number of the last order")]
    orders: Annotated[tuple[Order, ...], FailFast()]

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
    currency: CurrencyCode
    attempts: Annotated[int, Field(ge=0)]
    reason: str | None
    settled_at: datetime
    worker: str


_MOST_FINDINGS = 1000
_parse_order = Order.__pydantic_validator__.validate_json
_check_item = LineItem.__pydantic_validator__.validate_python
_parse_item = LineItem.__pydantic_validator__.validate_json
_parse_batch = OrderBatch.__pydantic_validator__.validate_json
encode_order = Order.__pydantic_serializer__.to_json
"""Writes an order in its canonical encoding; orders with the same one are the same order."""


def parse_order(raw: bytes | str, missing_id: str | None = None) -> tuple[Order, bytes]:
    """Parse one JSON order; return it with its canonical encoding.

    Args:
        raw: The order.
        missing_id: Its id, if it is an object that has none.

    Raises:
        InvalidOrder: With the rules that it breaks.
    """
    check_weight(raw)
    if missing_id is not None:
        raw = to_json({"order_id": missing_id, **_read_object(raw)})
    try:
        order = _parse_order(raw)
    except ValidationError as error:
        found = _all_findings(error, lambda: from_json(raw), _check_json_item)
        raise InvalidOrder(reasons_of(found, Order)) from None
    canonical = encode_order(order)
    if canonical != raw and missing_id is None:
        _read_object(raw)
    return order, canonical


def build_order(fields: dict[str, Any]) -> tuple[Order, bytes]:
    """Validate an order given as Python values; return it with its canonical encoding.

    Raises:
        InvalidOrder: With the rules that it breaks.
    """
    try:
        order = Order.model_validate(fields)
    except ValidationError as error:
        found = _all_findings(error, lambda: fields, _check_item)
        raise InvalidOrder(reasons_of(found, Order)) from None
    return order, encode_order(order)


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
        if error.error_count() > _MOST_FINDINGS:
            raise InvalidBatch(f"it breaks {error.error_count():,} rules") from None
        found = reasons_of(error.errors(include_url=False), OrderBatch)
        raise InvalidBatch("; ".join(map(str, found[:3]))) from None
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
    rb'\{"schema_version":%d,"ledger_id":"(%b{1,%d})","partition":(\d{1,9}),'
    rb'"first":(\d{1,18}),"last":(\d{1,18}),"orders":\[(\]\}$)?'
    % (SCHEMA_VERSION, ID_CHARACTER.encode(), ID_LENGTH)
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


def _all_findings(
    error: ValidationError, fields: Callable[[], Any], check: Callable[[Any], object]
) -> Iterator[ErrorDetails]:
    """What is wrong with an order, and with its items after the first bad one.

    Args:
        error: What pydantic found.
        fields: Gives what was validated.
        check: Validates an item by itself.
    """
    is_expanded = False
    for detail in error.errors(include_url=False):
        match detail["loc"]:
            case ("items", int(), *_):
                if not is_expanded:
                    found = _item_findings(fields()["items"], check)
                    yield next(found, detail)
                    yield from found
                is_expanded = True
            case _:
                yield detail


def _item_findings(items: Sequence[Any], check: Callable[[Any], object]) -> Iterator[ErrorDetails]:
    if len(items) > MOST_ITEMS:
        limit = {"max_length": MOST_ITEMS}
        yield {"type": "too_long", "loc": ("items",), "msg": "", "input": items, "ctx": limit}
        return
    for index, item in enumerate(items):
        try:
            check(item)
        except ValidationError as error:
            for detail in error.errors(include_url=False):
                yield {**detail, "loc": ("items", index, *detail["loc"])}


def _check_json_item(item: object) -> object:
    # As JSON once more: of a date, say, a text is one in JSON, and none among Python's values.
    return _parse_item(to_json(item))


def _read_object(raw: bytes | str) -> dict[str, Any]:
    """Read valid JSON, and refuse a key that is given twice.

    JSON leaves open which of two equal keys counts; where money hangs on it, neither does.
    """
    found: dict[str, Any] = json.loads(raw, object_pairs_hook=_without_repeats)
    return found


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise InvalidOrder([Reason(legible(twice, 100), "must not be given twice")])
    return found
