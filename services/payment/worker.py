"""A payment worker: the process around a consumer, in either mode."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from services.payment.consumer import IDLE_SECONDS, NO_ROOM, TROUBLE_SECONDS, Rounds, worker_name
from services.payment.heartbeat import BEAT_SECONDS
from services.payment.load_gateway import load_gateway
from services.payment.pause import HOLD_SECONDS
from services.payment.settle import Settler
from services.processes.child import follow_parent, leave_signals_to_parent
from shared.collector import tune_gc
from shared.errors import LedgerUnavailable, OrderlyError
from shared.ledger.ledger import open_ledger
from shared.logs import Logger, set_up_logs
from shared.queue.port import Deliveries, EndOfQueue

if TYPE_CHECKING:
    from services.payment.heartbeat import Vitals
    from services.payment.pause import Hold
    from shared.ledger.ledger import Ledger
    from shared.settings import Settings

log = Logger("payment")


@dataclass(frozen=True)
class Assignment:
    """What a worker's process is started with.

    Attributes:
        settings: The settings of the process that starts it.
        vitals: Where it shows that it is alive.
        deliveries: Its end of the queue; None where RQ delivers.
        niceness: How far it stands back where processors are short.
        hold: Makes it rest, where its supervisor may say so.
    """

    settings: Settings
    vitals: Vitals
    deliveries: Deliveries | None = None
    niceness: int = 0
    hold: Hold | None = None


def main(assignment: Assignment) -> None:
    """Be a payment worker: what a supervisor starts as a process of its own."""
    settings, vitals = assignment.settings, assignment.vitals
    try:
        leave_signals_to_parent()
        follow_parent()
        os.nice(assignment.niceness)
        set_up_logs(settings)
        ledger, rounds = _prepare(settings, vitals)
    except OrderlyError as error:
        log.warning("worker cannot start", error=str(error))
        raise SystemExit(error.exit_code) from None
    except (OSError, RuntimeError, MemoryError) as error:
        log.warning("worker cannot start", error=f"{type(error).__name__}: {error}")
        raise SystemExit(NO_ROOM) from None
    tune_gc()
    if assignment.deliveries is not None:
        vitals.ready()
        consume(assignment.deliveries, rounds, vitals, assignment.hold)
    else:
        from services.payment.rq_worker import work  # noqa: PLC0415  RQ is slow to load

        vitals.ready()
        work(settings, ledger.ledger_id, rounds, vitals)


def _prepare(settings: Settings, vitals: Vitals) -> tuple[Ledger, Rounds]:
    """Get ready for work: with a gateway first, since without one there is nothing to wait for."""
    gateway = load_gateway(settings)
    ledger = _wait_for_ledger(settings, vitals)
    settler = Settler(
        ledger,
        gateway,
        worker=worker_name(os.getpid()),
        batch_size=settings.batch_size,
        max_attempts=settings.max_attempts,
        on_progress=vitals.working,
        meter=vitals.meter,
    )
    return ledger, Rounds(ledger, settler, vitals, batch_size=settings.batch_size)


def _wait_for_ledger(settings: Settings, vitals: Vitals) -> Ledger:
    """Open the ledger as soon as it is there: its server may be away for longer than any start.

    Raises:
        OrderlyError: It is not to be had with these settings, however long one waits.
    """
    is_told = False
    while True:
        try:
            return open_ledger(settings, create=False, pulse=vitals.pulse)
        except LedgerUnavailable as error:
            if not is_told:
                is_told = True
                log.warning("worker waits for the ledger", error=str(error))
        until = time.monotonic() + TROUBLE_SECONDS
        while time.monotonic() < until:
            vitals.waiting()
            time.sleep(BEAT_SECONDS)


def consume(
    deliveries: Deliveries, rounds: Rounds, vitals: Vitals, hold: Hold | None = None
) -> None:
    """Take messages and settle what they point to, until the end mark comes.

    Who shall rest does so with a message in hand, too: from then on nothing is settled.
    """
    while True:
        vitals.waiting()
        try:
            message = deliveries.receive(rounds.agenda.wait(IDLE_SECONDS))
        except EndOfQueue:
            return
        except Exception:
            # The pipe, or what came through it: both are thrown away with this process.
            log.exception("queue failed")
            raise SystemExit(1) from None
        while hold is not None and hold.is_on:
            vitals.waiting()
            time.sleep(HOLD_SECONDS)  # a lock to wait for might be held by one who was killed
        if message is not None:
            rounds.follow(message)
            deliveries.done()
        rounds.come_back()
