"""The ``orderly`` command. Each command imports what it needs when it is called."""

from __future__ import annotations

import errno
import io
import json
import os
import sys
from contextlib import contextmanager
from enum import StrEnum
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ParamSpec, TypeVar

import typer

from shared.errors import OrderlyError, OutputUnavailable, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pydantic import BaseModel
    from sqlalchemy import Connection

    from shared.ledger.dead import DeadLetter
    from shared.ledger.opening import Ledger
    from shared.settings import Settings

P = ParamSpec("P")
R = TypeVar("R")

app = typer.Typer(
    name="orderly",
    help="An order-processing pipeline: nothing lost, nothing charged twice.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
dead_app = typer.Typer(
    help="Dead letters, the orders that no gateway would take: list, retry or discard them.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
app.add_typer(dead_app, name="dead")

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
OrderIds = Annotated[list[str] | None, typer.Argument(metavar="[ORDER_ID]...")]
_OUT_OF_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO}
Everything = Annotated[bool, typer.Option("--all", help="Every dead order.")]


def _reporting(command: Callable[P, R]) -> Callable[P, R]:
    """Turn the errors raised on purpose into one line and an exit code."""

    @wraps(command)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
        _print_anything()
        try:
            with _writing_out():
                return command(*args, **kwargs)
        except OrderlyError as error:
            _say(str(error))
            raise typer.Exit(error.exit_code) from None
        except BrokenPipeError:
            _drop_output()
            raise typer.Exit(0) from None

    return wrapped


@contextmanager
def _writing_out() -> Iterator[None]:
    """Bring out what a command printed while its fate can still be told."""
    try:
        try:
            yield
        finally:
            sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        if error.errno not in _OUT_OF_ROOM:
            raise
        _drop_output()
        raise OutputUnavailable(
            f"standard output takes no more: {error.strerror}; make room and run it again"
        ) from None


@app.command()
@_reporting
def run(
    files: Annotated[
        list[str] | None,
        typer.Argument(metavar="[FILE]...", help="CSV or JSONL, gzip or not; - is standard input."),
    ] = None,
    orders: Annotated[int, typer.Option(min=0, help="Generate so many orders.")] = 0,
    seed: Annotated[int | None, typer.Option(help="The generator's seed.")] = None,
    workers: Annotated[int | None, typer.Option(help="Payment workers to start.")] = None,
    rate: Annotated[
        float | None, typer.Option(min=0.1, help="Take in at most so many orders a second.")
    ] = None,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Set the ledger aside and begin with an empty one.")
    ] = False,
    rejects: Annotated[
        Path | None, typer.Option(help="Where rejected orders go; default: beside the ledger.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Produce and pay until all is settled, then prove it.

    Without input it settles what is open.
    """
    from services.producer.synthetic import new_seed

    if seed is not None and not orders:
        raise UsageError("--seed goes with --orders")
    if orders and seed is None:
        seed = new_seed()
        _say(f"generating with --seed {seed}")
    settings = _settings(payment_workers=workers)

    from services import console
    from services.run import Plan
    from services.run import run as run_plan

    plan = Plan(files or (), orders, seed, rate, fresh, rejects)
    with console.display() as display:
        finished = run_plan(settings, plan, display)
    if as_json:
        _print_json(finished.report.as_dict())
        for line in console.notes(finished):
            _say(line)
    else:
        console.print_report(finished)
    for problem in [*finished.problems, *finished.violations[:10]]:
        _say(problem)
    if finished.error is not None:
        raise finished.error
    if finished.problems or not finished.report.verified:
        raise typer.Exit(1)


@app.command()
@_reporting
def status(as_json: AsJson = False) -> None:
    """Count the orders by what became of them."""
    from services.console import equation, money, print_mapping
    from shared.ledger.reports import totals
    from shared.ledger.workers import present

    settings = _settings()
    with _reading(settings) as (ledger, connection):
        found = totals(connection)
        workers = present(connection)
    depth = sum(worker.queue_depth for worker in workers)
    if as_json:
        _print_json(
            {
                **found.as_dict(),
                "mode": settings.queue_mode,
                "ledger": ledger.name,
                "workers": [worker._asdict() for worker in workers],
                "queue_depth": depth,
            }
        )
        return
    print(equation(found))
    rows = [("money taken", money(found.paid_amount) or "none")]
    rows += [("ledger", f"{ledger.name} ({settings.queue_mode} mode)")]
    rows += [("queue depth", f"{depth:,}")] if workers else [("workers", "none at present")]
    rows += [
        (
            f"worker {each.slot}",
            f"{each.worker}, {each.state}, settled {each.settled:,}, restarts {each.restarts}",
        )
        for each in workers
    ]
    print_mapping(rows)


@app.command()
@_reporting
def verify(as_json: AsJson = False) -> None:
    """Prove the ledger: work everything out again from the journal and the transfers."""
    from services.console import equation
    from shared.ledger.verify import verify as prove

    with _reading(_settings()) as (ledger, connection):
        proof = prove(ledger, connection)
    if as_json:
        _print_json(proof.as_dict())
    else:
        print(equation(proof.totals))
        for found in proof.violations:
            print(f"{found.check}: {found.where}: {found.message}")
        if proof.more:
            print(f"and {proof.more:,} more")
        print("verified" if proof.ok else "NOT verified")
    if not proof.ok:
        raise typer.Exit(1)


@app.command()
@_reporting
def explain(order_id: str, as_json: AsJson = False) -> None:
    """Tell one order's whole story."""
    from services.console import print_story
    from shared.ledger.explain import explain as tell

    with _reading(_settings()) as (_, connection):
        story = tell(connection, order_id)
    if story is None:
        raise UsageError(f"order {order_id!r} was never accepted")
    if as_json:
        _print_json(story)
    else:
        print_story(story)


@app.command()
@_reporting
def journal() -> None:
    """Print the accepted orders as JSONL, in the order in which they count."""
    from shared.ledger.reports import accepted_orders
    from shared.schema import encode_order

    with _reading(_settings()) as (_, connection):
        for _partition, _number, order in accepted_orders(connection):
            sys.stdout.buffer.write(encode_order(order) + b"\n")
    sys.stdout.buffer.flush()


@dead_app.command("list")
@_reporting
def dead_list(as_json: AsJson = False) -> None:
    """List the dead orders."""
    from services.console import print_dead
    from shared.ledger.dead import dead_letters

    with _reading(_settings()) as (_, connection):
        letters = dead_letters(connection)
    if as_json:
        _print_json([letter.as_dict() for letter in letters])
    else:
        print_dead(letters)


@dead_app.command("retry")
@_reporting
def dead_retry(order_ids: OrderIds = None, everything: Everything = False) -> None:
    """Open dead orders again, to be settled by the pipeline that runs, or by the next run."""
    from services.console import plural
    from shared.ledger.dead import retry

    ledger, letters = _choose(order_ids, everything=everything)
    retried = len(retry(ledger, letters))
    print(f"{plural(retried, 'dead order')} open again, for a running pipeline or the next run")


@dead_app.command("discard")
@_reporting
def dead_discard(order_ids: OrderIds = None, everything: Everything = False) -> None:
    """Mark dead orders as dealt with; they stay dead."""
    from services.console import plural
    from shared.ledger.dead import discard

    ledger, letters = _choose(order_ids, everything=everything)
    print(f"{plural(discard(ledger, letters), 'dead order')} marked as discarded")


class Format(StrEnum):
    """How generated orders are written."""

    CSV = "csv"
    JSONL = "jsonl"


@app.command()
@_reporting
def generate(
    count: Annotated[int, typer.Argument(min=0, metavar="N")],
    seed: Annotated[int | None, typer.Option(help="The same seed gives the same orders.")] = None,
    format: Annotated[Format, typer.Option()] = Format.JSONL,  # noqa: A002  the option's name
) -> None:
    """Write synthetic orders to standard output."""
    from services.producer import synthetic

    if seed is None:
        seed = synthetic.new_seed()
        _say(f"generating with --seed {seed}")
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


@app.command()
@_reporting
def schema(message: Annotated[Message, typer.Argument()] = Message.ORDER) -> None:
    """Print the JSON Schema of an order, of a batch on the queue, or of a payment."""
    from shared.schema import Order, OrderBatch, Payment

    models: dict[Message, type[BaseModel]] = {
        Message.ORDER: Order,
        Message.BATCH: OrderBatch,
        Message.PAYMENT: Payment,
    }
    _print_json(models[message].model_json_schema())


@app.command()
@_reporting
def config(as_json: AsJson = False) -> None:
    """Print the settings in force, and where each came from."""
    from services.console import print_mapping
    from shared.settings import mask_password

    settings = _settings()
    found = {
        name.upper(): {
            "value": mask_password(value) if isinstance(value, str) else value,
            "from": "environment" if settings.given(name) else "default",
            "is": type(settings).model_fields[name].description,
        }
        for name, value in settings
    }
    if as_json:
        _print_json(found)
    else:
        print_mapping(
            [
                (name, f"{item['value']!s:<28} {item['from']:<12} {item['is']}")
                for name, item in found.items()
            ]
        )


def _settings(**overrides: object) -> Settings:
    from shared.logs import set_up_logs
    from shared.settings import load_settings

    settings = load_settings(**overrides)
    set_up_logs(settings)
    return settings


@contextmanager
def _reading(settings: Settings) -> Iterator[tuple[Ledger, Connection]]:
    """Open the ledger that is there, and one snapshot of it."""
    from shared.ledger.opening import open_ledger

    ledger = open_ledger(settings, create=False)
    try:
        with ledger.database.read() as connection:
            yield ledger, connection
    finally:
        ledger.database.close()


def _choose(order_ids: list[str] | None, *, everything: bool) -> tuple[Ledger, list[DeadLetter]]:
    """Find the dead letters that a command is about."""
    from shared.ledger.dead import dead_letters
    from shared.ledger.opening import open_ledger

    if bool(order_ids) == everything:
        raise UsageError("name the orders, or say --all")
    ledger = open_ledger(_settings(), create=False)
    with ledger.database.read() as connection:
        letters = dead_letters(connection, order_ids)
    missing = set(order_ids or ()) - {letter.order_id for letter in letters}
    if missing:
        raise UsageError(f"not dead: {', '.join(sorted(missing))}; nothing was changed")
    return ledger, letters


def _print_json(value: Any) -> None:  # noqa: ANN401
    print(json.dumps(value, indent=2, ensure_ascii=False))


def _say(line: str) -> None:
    print(f"orderly: {' '.join(line.splitlines())}", file=sys.stderr)


def _print_anything() -> None:
    """Let no terminal's alphabet be an error: what it lacks is printed as an escape."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _drop_output() -> None:
    # Whoever read our output has gone, as in `orderly journal | head`. Python would complain
    # when it flushes standard output at exit: let it flush into nothing.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
