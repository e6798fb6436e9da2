"""The ``orderly`` command. Each command imports what it needs when it is called."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from services.cli.bank import bank
from services.cli.common import AsJson, begin, handling_errors, load, read_settings, say
from services.cli.dead import app as dead_app
from services.cli.lesson import lesson
from services.cli.lookups import explain, journal, status, verify
from services.cli.reconcile import reconcile
from services.cli.tools import config, generate, schema
from shared.errors import UsageError

if TYPE_CHECKING:
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


def _print_version(is_wanted: bool) -> None:  # noqa: FBT001  typer calls it so
    if is_wanted:
        from importlib.metadata import version

        print(f"orderly {version('orderly')}")
        raise typer.Exit


@app.callback()
def options(
    _version: Annotated[
        bool,
        typer.Option(
            "--version", is_eager=True, callback=_print_version, help="Print the version."
        ),
    ] = False,
) -> None:
    """An order-processing pipeline: nothing lost, nothing charged twice."""


Files = Annotated[
    list[str] | None,
    typer.Argument(metavar="FILE", help="CSV or JSONL, gzip or not; - is standard input."),
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
@handling_errors
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
    prove: Annotated[
        bool, typer.Option("--prove", help="Prove the whole ledger, not only what the run touched.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Take orders in and pay until all is settled, then prove it.

    Without input it settles what is open. In redis mode, --workers 0 waits for the workers
    that run elsewhere.
    """
    settings = read_settings(employs=True, payment_workers=workers)
    if fresh and not yes and not settings.ledger_url.startswith("sqlite"):
        raise UsageError("--fresh sets a ledger aside that others may share; add --yes if it shall")

    from services.cli.carry_out import carry_out
    from services.run import Plan

    seed = _seed(orders, seed)
    plan = Plan(files or (), orders, seed, rate, fresh, rejects, proves_all=prove)
    carry_out(settings, plan, as_json=as_json)


@app.command()
@handling_errors
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

    from services.cli.carry_out import carry_out
    from services.run import Plan

    seed = _seed(orders, seed)
    settings = settings.model_copy(update={"payment_workers": 0})
    plan = Plan(files or (), orders, seed, rate, rejects=rejects, settles=False)
    carry_out(settings, plan, as_json=as_json)


@app.command()
@handling_errors
def pay(
    workers: Annotated[int | None, typer.Option(max=64, help="Payment workers to start.")] = None,
) -> None:
    """Pay what others take in, until a signal ends it (redis mode)."""
    settings = read_settings(employs=True, payment_workers=workers)
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
    from services.producer.sources.synthetic import new_seed

    if seed is not None and not orders:
        raise UsageError("--seed goes with --orders")
    if orders and seed is None:
        seed = new_seed()
        say(f"generating with --seed {seed}")
    return seed


@app.command()
@handling_errors
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
    settings = load(http_host=host, http_port=port, payment_workers=workers)
    if settings.queue_mode == "redis" and workers is None:
        settings = settings.model_copy(update={"payment_workers": 0})
    begin(settings, employs=True)

    from services.serve import serve as serve_http

    if not serve_http(settings, say):
        raise typer.Exit(1)


@app.command()
@handling_errors
def migrate() -> None:
    """Make the ledger if nobody has; wait for its server."""
    from shared.ledger.ledger import open_ledger

    ledger = open_ledger(read_settings())
    say(f"ledger {ledger.database.name} is there, {ledger.partitions} partitions")
    ledger.database.close()


class Service(StrEnum):
    """The services that tell whether they are well."""

    SERVE = "serve"
    PAY = "pay"
    BANK = "bank"


@app.command(hidden=True)
@handling_errors
def healthcheck(service: Annotated[Service, typer.Argument()]) -> None:
    """Ask the service that runs on this host whether it is well; for container engines."""
    from services.healthcheck import why_unwell

    if why := why_unwell(service, read_settings()):
        say(why)
        raise typer.Exit(1)


for command in (bank, status, verify, reconcile, explain, journal, generate, schema, config):
    app.command()(command)
# What follows the lesson's name is for the lesson, even if it looks like an option.
app.command(context_settings={"allow_interspersed_args": False})(lesson)
