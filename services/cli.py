"""The ``orderly`` command. Each command imports what it needs when it is called."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from services.cli_dead import app as dead_app
from services.cli_lesson import lesson
from services.cli_support import AsJson, print_json, read_settings, reading, reporting, say
from shared.errors import UsageError

if TYPE_CHECKING:
    from pydantic import BaseModel

    from services.run import Plan
    from shared.settings import Settings

app = typer.Typer(
    name="orderly",
    help="An order-processing pipeline: nothing lost, nothing charged twice.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.add_typer(dead_app, name="dead")
# What follows the lesson's name is for the lesson, even if it looks like an option.
app.command(context_settings={"allow_interspersed_args": False})(lesson)


Files = Annotated[
    list[str] | None,
    typer.Argument(metavar="[FILE]...", help="CSV or JSONL, gzip or not; - is standard input."),
]
Orders = Annotated[int, typer.Option(min=0, help="Generate so many orders.")]
Seed = Annotated[int | None, typer.Option(help="The generator's seed.")]
Rate = Annotated[
    float | None, typer.Option(min=0.1, help="Take in at most so many orders a second.")
]
RejectsFile = Annotated[
    Path | None, typer.Option(help="Where rejected orders go; default: beside the ledger.")
]
Workers = Annotated[
    int | None, typer.Option(min=0, max=64, help="Payment workers to start; 0 in redis mode only.")
]


@app.command()
@reporting
def run(
    files: Files = None,
    orders: Orders = 0,
    seed: Seed = None,
    workers: Workers = None,
    rate: Rate = None,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Set the ledger aside and begin with an empty one.")
    ] = False,
    yes: Annotated[
        bool, typer.Option("--yes", help="With --fresh, for a ledger that others may share.")
    ] = False,
    rejects: RejectsFile = None,
    as_json: AsJson = False,
) -> None:
    """Produce and pay until all is settled, then prove it.

    Without input it settles what is open. In redis mode, --workers 0 waits for the workers
    that run elsewhere.
    """
    settings = read_settings(payment_workers=workers)
    if fresh and not yes and not settings.ledger_url.startswith("sqlite"):
        raise UsageError("--fresh sets a ledger aside that others may share; add --yes if it shall")

    from services.run import Plan

    seed = _seed(orders, seed)
    _run(settings, Plan(files or (), orders, seed, rate, fresh, rejects), as_json=as_json)


@app.command()
@reporting
def produce(
    files: Files = None,
    orders: Orders = 0,
    seed: Seed = None,
    rate: Rate = None,
    rejects: RejectsFile = None,
    as_json: AsJson = False,
) -> None:
    """Take orders in and leave the paying to others (redis mode)."""
    settings = read_settings()
    _need_redis(settings, "produce")
    if not files and not orders:
        raise UsageError("produce needs something to take in: name a FILE, or --orders N")

    from services.run import Plan

    seed = _seed(orders, seed)
    settings = settings.model_copy(update={"payment_workers": 0})
    plan = Plan(files or (), orders, seed, rate, rejects=rejects, settles=False)
    _run(settings, plan, as_json=as_json)


@app.command()
@reporting
def pay(workers: Workers = None) -> None:
    """Pay what others take in, until a signal ends it (redis mode)."""
    settings = read_settings(payment_workers=workers)
    _need_redis(settings, "pay")
    if not settings.payment_workers:
        raise UsageError("pay needs at least one worker: --workers 1, or PAYMENT_WORKERS=1")

    from services.pay import pay as pay_orders

    pay_orders(settings, say)


def _need_redis(settings: Settings, command: str) -> None:
    if settings.queue_mode != "redis":
        raise UsageError(
            f"{command} is a service of redis mode (QUEUE_MODE=redis); "
            "in local mode use orderly run or orderly serve"
        )


def _seed(orders: int, seed: int | None) -> int | None:
    from services.producer.synthetic import new_seed

    if seed is not None and not orders:
        raise UsageError("--seed goes with --orders")
    if orders and seed is None:
        seed = new_seed()
        say(f"generating with --seed {seed}")
    return seed


def _run(settings: Settings, plan: Plan, *, as_json: bool) -> None:
    from services import console
    from services.run import run as run_plan

    with console.display() as display:
        finished = run_plan(settings, plan, display)
    report = finished.report
    if as_json:
        print_json(report.as_dict() if plan.settles else report.of_intake())
        for line in console.notes(finished):
            say(line)
    else:
        console.print_report(finished, settles=plan.settles)
    for problem in [*finished.problems, *finished.violations[:10]]:
        say(problem)
    if finished.error is not None:
        raise finished.error
    if finished.problems or (plan.settles and not report.verified):
        raise typer.Exit(1)


@app.command()
@reporting
def serve(
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    port: Annotated[
        int | None, typer.Option(min=0, max=65535, help="Port to listen on; 0 is any free one.")
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(min=0, max=64, help="Payment workers to start; in redis mode 0 if not set."),
    ] = None,
) -> None:
    """Take orders in over HTTP and pay them, until a signal ends it.

    In redis mode it leaves the paying to orderly pay.
    """
    settings = read_settings(http_host=host, http_port=port, payment_workers=workers)
    if settings.queue_mode == "redis" and workers is None:
        settings = settings.model_copy(update={"payment_workers": 0})

    from services.serve import serve as serve_http

    if not serve_http(settings, say):
        raise typer.Exit(1)


@app.command()
@reporting
def migrate() -> None:
    """Make the ledger if nobody has; wait for its server."""
    from shared.ledger.opening import open_ledger

    ledger = open_ledger(read_settings())
    say(f"ledger {ledger.database.name} is there, {ledger.partitions} partitions")
    ledger.database.close()


class Service(StrEnum):
    """The services that tell whether they are well."""

    SERVE = "serve"
    PAY = "pay"


@app.command(hidden=True)
@reporting
def healthcheck(service: Annotated[Service, typer.Argument()]) -> None:
    """Ask the service that runs on this host whether it is well; for container engines."""
    from services.healthcheck import why_unwell

    if why := why_unwell(service, read_settings()):
        say(why)
        raise typer.Exit(1)


@app.command()
@reporting
def status(as_json: AsJson = False) -> None:
    """Count the orders by what became of them."""
    from services.console import equation, money, print_mapping
    from services.status import status_report

    settings = read_settings()
    with reading(settings) as (ledger, connection):
        report = status_report(settings, ledger, connection)
    if as_json:
        print_json(report.as_dict())
        return
    print(equation(report.totals))
    rows = [("money taken", money(report.totals.paid_amount) or "none")]
    rows += [("ledger", f"{report.ledger} ({report.mode} mode)")]
    rows += (
        [("queue depth", f"{report.queue_depth:,}")]
        if report.workers
        else [("workers", "none at present")]
    )
    rows += [
        (
            f"worker {each.slot}",
            f"{each.worker}, {each.state}, settled {each.settled:,}, restarts {each.restarts}",
        )
        for each in report.workers
    ]
    print_mapping(rows)


@app.command()
@reporting
def verify(as_json: AsJson = False) -> None:
    """Prove the ledger, from journal and transfers."""
    from services.console import equation
    from shared.ledger.verify import verify as prove

    with reading(read_settings()) as (ledger, connection):
        proof = prove(ledger, connection)
    if as_json:
        print_json(proof.as_dict())
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
@reporting
def explain(
    order_id: Annotated[str, typer.Argument(metavar="ORDER_ID")], as_json: AsJson = False
) -> None:
    """Tell one order's whole story."""
    from services.console import print_story
    from shared.ledger.explain import explain as tell

    with reading(read_settings()) as (_, connection):
        story = tell(connection, order_id)
    if story is None:
        raise UsageError(f"order {order_id!r} was never accepted")
    if as_json:
        print_json(story)
    else:
        print_story(story)


@app.command()
@reporting
def journal() -> None:
    """Print the accepted orders as JSONL, in serial order."""
    from shared.ledger.reports import accepted_orders
    from shared.schema import encode_order

    with reading(read_settings()) as (_, connection):
        for _partition, _number, order in accepted_orders(connection):
            sys.stdout.buffer.write(encode_order(order) + b"\n")
    sys.stdout.buffer.flush()


class Format(StrEnum):
    """How generated orders are written."""

    CSV = "csv"
    JSONL = "jsonl"


@app.command()
@reporting
def generate(
    count: Annotated[int, typer.Argument(min=0, metavar="N")],
    seed: Annotated[int | None, typer.Option(help="The same seed gives the same orders.")] = None,
    format: Annotated[Format, typer.Option(help="How to write them.")] = Format.JSONL,  # noqa: A002  the option's name
) -> None:
    """Write synthetic orders to standard output."""
    from services.producer import synthetic

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


@app.command()
@reporting
def schema(message: Annotated[Message, typer.Argument(help="Which.")] = Message.ORDER) -> None:
    """Print the JSON Schema of a message."""
    from shared.schema import Order, OrderBatch, Payment

    models: dict[Message, type[BaseModel]] = {
        Message.ORDER: Order,
        Message.BATCH: OrderBatch,
        Message.PAYMENT: Payment,
    }
    print_json(models[message].model_json_schema())


@app.command()
@reporting
def config(as_json: AsJson = False) -> None:
    """Print the settings in force, and where each came from."""
    from pydantic import SecretStr

    from services.console import print_mapping
    from shared.settings import mask_password

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
