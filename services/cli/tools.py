"""The commands that need no ledger: orders to try, what they look like, and the settings."""

from __future__ import annotations

import sys
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from services.cli.common import AsJson, handling_errors, print_json, read_settings, say

if TYPE_CHECKING:
    from pydantic import BaseModel


class Format(StrEnum):
    """How generated orders are written."""

    CSV = "csv"
    JSONL = "jsonl"


@handling_errors
def generate(
    count: Annotated[int, typer.Argument(min=0, metavar="N")],
    seed: Annotated[int | None, typer.Option(help="The same seed gives the same orders.")] = None,
    format: Annotated[Format, typer.Option(help="How to write them.")] = Format.JSONL,  # noqa: A002  the option's name
) -> None:
    """Write synthetic orders to standard output."""
    from services.producer.sources import synthetic

    if seed is None:
        seed = synthetic.new_seed()
        say(f"generating with --seed {seed}")
    out = sys.stdout.buffer
    if format is Format.CSV:
        out.writelines(f"{line}\n".encode() for line in synthetic.as_csv(count, seed))
    else:
        out.writelines(raw + b"\n" for raw in synthetic.encoded(count, seed))
    out.flush()


class Message(StrEnum):
    """The messages that have a schema."""

    ORDER = "order"
    BATCH = "batch"
    PAYMENT = "payment"


@handling_errors
def schema(message: Annotated[Message, typer.Argument(help="Which.")] = Message.ORDER) -> None:
    """Print the JSON Schema of a message."""
    from shared.schema import Order, OrderBatch, Payment

    models: dict[Message, type[BaseModel]] = {
        Message.ORDER: Order,
        Message.BATCH: OrderBatch,
        Message.PAYMENT: Payment,
    }
    print_json(models[message].model_json_schema())


@handling_errors
def config(as_json: AsJson = False) -> None:
    """Print the settings in force, and where each came from."""
    from pydantic import SecretStr

    from services.cli.console import print_mapping
    from shared.passwords import mask_password

    settings = read_settings()
    found = {
        name.upper(): {
            "value": mask_password(str(value)) if isinstance(value, str | SecretStr) else value,
            "from": "environment" if settings.given(name) else "default",
            "is": type(settings).model_fields[name].description,
        }
        for name, value in settings
    }
    if as_json:
        print_json(found)
    else:
        print_mapping(
            [
                (name, f"{item['value']!s:<28} {item['from']:<12} {item['is']}")
                for name, item in found.items()
            ]
        )
