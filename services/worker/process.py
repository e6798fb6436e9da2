"""A payment worker: the process around a consumer, in either mode."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from services.payment.consumer import IDLE_SECONDS, NO_ROOM, TROUBLE_SECONDS, Consumer, worker_name
from services.payment.heartbeat import BEAT_SECONDS
from services.payment.load_gateway import load_gateway
from services.payment.outside import OutsideGateway
from services.payment.settle import Settler
from services.processes.child import follow_parent, leave_signals_to_parent
from services.worker.pause import PAUSE_POLL_SECONDS
from shared.collector import tune_gc
from shared.errors import LedgerUnavailable, OrderlyError
from shared.ledger.ledger import open_ledger
from shared.logs import Logger, set_up_logs
from shared.queue.port import Deliveries, EndOfQueue

if TYPE_CHECKING:
    from services.payment.charging.charger import Charger
    from services.payment.consumer import Visitor
    from services.payment.heartbeat import Heartbeat
    from services.worker.pause import Pause
    from shared.ledger.ledger import Ledger
    from shared.settings import Settings

log = Logger("payment")


@dataclass(frozen=True)
class Assignment:
    """What a worker's process is started with.

    Attributes:
        settings: The settings of the process that starts it.
        heartbeat: Where it shows that it is alive.
        deliveries: Its end of the queue; None where RQ delivers.
        niceness: How far it stands back where processors are short.
        pause: Pauses it, where its supervisor may say so.
    """

    settings: Settings
    heartbeat: Heartbeat
    deliveries: Deliveries | None = None
    niceness: int = 0
    pause: Pause | None = None


def main(assignment: Assignment) -> None:
    """Be a payment worker: what a supervisor starts as a process of its own."""
    settings, heartbeat = assignment.settings, assignment.heartbeat
    try:
        leave_signals_to_parent()
        follow_parent()
        os.nice(assignment.niceness)
        set_up_logs(settings)
        ledger, consumer, charger = _prepare(assignment)
    except OrderlyError as error:
        log.warning("worker cannot start", error=str(error))
        raise SystemExit(error.exit_code) from None
    except (OSError, RuntimeError, MemoryError) as error:
        log.warning("worker cannot start", error=f"{type(error).__name__}: {error}")
        raise SystemExit(NO_ROOM) from None
    tune_gc()
    try:
        _work(assignment, ledger, consumer)
    finally:
        if charger is not None:
            charger.close(heartbeat.waiting)


def _work(assignment: Assignment, ledger: Ledger, consumer: Consumer) -> None:
    settings, heartbeat = assignment.settings, assignment.heartbeat
    if assignment.deliveries is not None:
        heartbeat.ready()
        consume(assignment.deliveries, consumer, heartbeat, assignment.pause)
    else:
        from services.worker.rq_worker import work  # noqa: PLC0415  RQ is slow to load

        heartbeat.ready()
        work(settings, ledger.ledger_id, consumer, heartbeat)


def _prepare(assignment: Assignment) -> tuple[Ledger, Consumer, Charger | None]:
    """Get ready for work: with a gateway first, since without one there is nothing to wait for."""
    settings, heartbeat = assignment.settings, assignment.heartbeat
    gateway = load_gateway(settings)
    ledger = _wait_for_ledger(settings, heartbeat)
    if isinstance(gateway, OutsideGateway):
        charger, visitor = _charge(assignment, ledger, gateway)
    else:
        charger = None
        visitor = Settler(
            ledger,
            gateway,
            worker=worker_name(os.getpid()),
            batch_size=settings.batch_size,
            max_attempts=settings.max_attempts,
            on_progress=heartbeat.working,
            meter=heartbeat.meter,
        )
    consumer = Consumer(ledger, visitor, heartbeat, batch_size=settings.batch_size)
    return ledger, consumer, charger


def _charge(
    assignment: Assignment, ledger: Ledger, gateway: OutsideGateway
) -> tuple[Charger, Visitor]:
    """Begin to charge through an outside gateway."""
    from services.payment.charging.charger import Charger  # noqa: PLC0415  most have no need of it
    from services.payment.charging.hints import Hints  # noqa: PLC0415

    heartbeat = assignment.heartbeat
    charger = Charger(
        ledger,
        gateway,
        assignment.settings,
        worker=worker_name(os.getpid()),
        heartbeat=heartbeat,
        shares=assignment.deliveries is None,
    )
    charger.start()
    hints = Hints(ledger, charger, on_progress=heartbeat.working, meter=heartbeat.meter)
    return charger, hints


def _wait_for_ledger(settings: Settings, heartbeat: Heartbeat) -> Ledger:
    """Open the ledger as soon as it is there: its server may be away for longer than any start.

    Raises:
        OrderlyError: It is not to be had with these settings, however long one waits.
    """
    is_told = False
    while True:
        try:
            return open_ledger(settings, create=False, pulse=heartbeat.pulse)
        except LedgerUnavailable as error:
            if not is_told:
                is_told = True
                log.warning("worker waits for the ledger", error=str(error))
        until = time.monotonic() + TROUBLE_SECONDS
        while time.monotonic() < until:
            heartbeat.waiting()
            time.sleep(BEAT_SECONDS)


def consume(
    deliveries: Deliveries, consumer: Consumer, heartbeat: Heartbeat, pause: Pause | None = None
) -> None:
    """Take messages and settle what they point to, until the end mark comes.

    Who is paused stops with a message in hand, too: from then on nothing is settled.
    """
    while True:
        heartbeat.waiting()
        try:
            message = deliveries.receive(consumer.schedule.wait(IDLE_SECONDS))
        except EndOfQueue:
            return
        except Exception:
            # The pipe, or what came through it: both are thrown away with this process.
            log.exception("queue failed")
            raise SystemExit(1) from None
        while pause is not None and pause.is_on:
            heartbeat.waiting()
            time.sleep(PAUSE_POLL_SECONDS)  # a lock to wait for might be held by one who was killed
        if message is not None:
            consumer.follow(message)
            deliveries.done()
        consumer.come_back()
