"""A charge: what may be asked for, what is decided about it, and how it is written as JSON."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from services.bank.problems import Problem, of_invalid

if TYPE_CHECKING:
    from collections.abc import Iterable

MOST_AMOUNT = 2**63 - 1
MOST_CHARACTERS = 200
"""Of a name: several times what any ledger of ours needs."""

PAID, DECLINED = "paid", "declined"
INSUFFICIENT = "insufficient funds"

_KEY = re.compile(r"[!-~]{1,255}")

_NAME = re.compile(r"[!-~]*")
_CURRENCY = re.compile(r"[A-Z]{3}")


def _name(text: str) -> str:
    if not _NAME.fullmatch(text):
        raise ValueError("must be printable ASCII without blanks")
    return text


def _currency(text: str) -> str:
    if not _CURRENCY.fullmatch(text):
        raise ValueError("must be three capitals like EUR")
    return text


Name = Annotated[str, Field(min_length=1, max_length=MOST_CHARACTERS), AfterValidator(_name)]


class ChargeRequest(BaseModel):
    """What a client wants charged.

    Attributes:
        account: Whose money, such as ``customer/ada/EUR``.
        amount: Minor units of the currency.
        currency: Three capitals.
        reference: The client's own name for it, such as an order's id.
    """

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")

    account: Name
    amount: Annotated[int, Field(ge=0, le=MOST_AMOUNT)]
    currency: Annotated[str, AfterValidator(_currency)]
    reference: Name


class Charge(NamedTuple):
    """One that was decided, as the book keeps it; the fields of every answer, in their order."""

    id: int
    key: str
    reference: str
    account: str
    amount: int
    currency: str
    status: str
    reason: str | None

    def is_of(self, asked: ChargeRequest) -> bool:
        """Whether it was asked for with these parameters."""
        return (self.account, self.amount, self.currency, self.reference) == (
            *(asked.account, asked.amount),
            *(asked.currency, asked.reference),
        )

    def document(self) -> bytes:
        """Write it: equal charges as equal bytes, whenever that is."""
        return write_json(self._asdict())


def decide(balance: int, amount: int) -> tuple[str, str | None]:
    """Say what becomes of a charge, and why if it is declined."""
    return (PAID, None) if amount <= balance else (DECLINED, INSUFFICIENT)


def book_of(key: str) -> str:
    """Name the ledger whose book a key belongs to: what stands before its first ``~``."""
    ledger, mark, _ = key.partition("~")
    return ledger if mark else ""


def read_key(given: list[bytes]) -> str:
    """Read the header ``Idempotency-Key``, of which there is to be one.

    Raises:
        Problem: There is none, there are several, or it is none.
    """
    if not given:
        raise Problem("no-key", "Idempotency-Key: is required; send one header with a key")
    text = given[0].decode("latin-1")
    if len(given) > 1 or not _KEY.fullmatch(text):
        raise Problem(
            "no-key", "Idempotency-Key: must be one header of 1 to 255 printable ASCII characters"
        )
    return text


def read_request(body: bytes) -> ChargeRequest:
    """Read the body of a request to charge.

    Raises:
        Problem: It is no JSON, or names every field that breaks its rule.
    """
    try:
        return ChargeRequest.model_validate_json(body)
    except ValidationError as error:
        raise of_invalid(error.errors()) from None


def write_list(charges: Iterable[Charge]) -> bytes:
    """Write charges as one JSON array."""
    return write_json([charge._asdict() for charge in charges])


def write_json(value: Any) -> bytes:  # noqa: ANN401
    """Write JSON without blanks."""
    return json.dumps(value, separators=(",", ":")).encode()
