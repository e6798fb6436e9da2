"""Messages of a ledger changed by somebody who may not: by what a worker takes each for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from services.payment.next_batch import Delivery

if TYPE_CHECKING:
    from collections.abc import Callable

PARTITIONS = 2
"""The partitions of the ledger that these are made for."""


def altered_amount(message: dict[str, Any]) -> None:
    message["orders"][0]["items"][0]["unit_price"] += 1


def other_customer(message: dict[str, Any]) -> None:
    message["orders"][0]["customer_id"] = "c-9"


def shifted_numbers(message: dict[str, Any]) -> None:
    message["first"] += 1
    message["last"] += 1


def numbers_beyond_the_head(message: dict[str, Any]) -> None:
    message["first"] += 10_000
    message["last"] += 10_000


def numbers_from_zero(message: dict[str, Any]) -> None:
    message["last"] -= message["first"]
    message["first"] = 0


def one_order_more(message: dict[str, Any]) -> None:
    message["orders"].append(message["orders"][0] | {"order_id": "o-forged"})
    message["last"] += 1


def other_ledger(message: dict[str, Any]) -> None:
    message["ledger_id"] = "0" * 32


def other_partition(message: dict[str, Any]) -> None:
    message["partition"] = 1 - message["partition"]


def no_partition(message: dict[str, Any]) -> None:
    message["partition"] = PARTITIONS


def other_version(message: dict[str, Any]) -> None:
    message["schema_version"] = 2


FORGERIES: dict[Callable[[dict[str, Any]], None], Delivery] = {
    altered_amount: Delivery.FORGED,
    other_customer: Delivery.FORGED,
    shifted_numbers: Delivery.FORGED,
    numbers_beyond_the_head: Delivery.FORGED,
    numbers_from_zero: Delivery.FORGED,
    one_order_more: Delivery.FORGED,
    other_partition: Delivery.FORGED,
    other_ledger: Delivery.FOREIGN,
    no_partition: Delivery.FOREIGN,
    other_version: Delivery.UNREADABLE,
}
