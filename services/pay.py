"""``orderly pay``: payment workers of redis mode, until a signal ends them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from services.payment.load_gateway import load_gateway
from services.pipeline.select import new_pipeline
from services.processes.signals import StopRequests
from services.run import new_run_id
from services.timed_queries import ENDING, TimedQueries
from shared.ledger.ledger import open_ledger
from shared.ledger.totals import totals

if TYPE_CHECKING:
    from collections.abc import Callable

    from shared.settings import Settings

TICK_SECONDS = 0.1


def pay(settings: Settings, say: Callable[[str], None]) -> None:
    """Pay what there is to pay until a signal comes; what is in hand then is finished.

    Raises:
        OrderlyError: With the exit code that it means. What was accepted is kept.
    """
    load_gateway(settings)  # one that cannot be loaded should stop this before it starts
    ledger = open_ledger(settings)  # where its server is waited for, a signal ends that at once
    ledger.database.hurry()
    stop = StopRequests()
    with stop.handled():
        pipeline = new_pipeline(ledger, settings, run_id=new_run_id())
        try:
            pipeline.start()
            say(
                f"paying with {settings.payment_workers} workers ({settings.queue_mode} mode); "
                "Ctrl-C ends it"
            )
            say(f"ledger {ledger.name}")
            while not stop.drain.is_set():
                pipeline.watch(TICK_SECONDS)
            say("finishing what is in hand; a second signal stops at once")
            pipeline.drain()
            say(TimedQueries(ledger, stop.abort).ask(totals, ENDING).equation)
        except BaseException:
            pipeline.kill()
            raise
        finally:
            ledger.database.close()
