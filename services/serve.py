"""``orderly serve``: orders over HTTP, and in local mode the pipeline that pays them.

The main thread supervises the workers; HTTP has a thread of its own, and so has intake.
"""

from __future__ import annotations

import ipaddress
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from services.http.app import new_app
from services.http.connection_limits import Room
from services.http.guard import Guard
from services.http.ledger_reader import LedgerReader
from services.http.live.broadcast import Broadcast
from services.http.live.snapshot import Live
from services.http.metrics import Metrics
from services.http.problems import Problem
from services.http.routes.chaos import chaos_router
from services.http.routes.dead import dead_router
from services.http.routes.generator import Generator
from services.http.routes.lookups import ledger_router, orders_router, service_router
from services.http.routes.orders import Orders
from services.http.routes.page import page_router
from services.http.server import HttpServer
from services.http.verifier import Verifier
from services.payment.load_gateway import load_gateway
from services.pipeline.select import new_pipeline
from services.pipeline.stall import Abandoned, StallDetector
from services.processes.listening import bind
from services.processes.signals import StopRequests
from services.producer.group_commit import PATIENCE, GroupCommit
from services.producer.intake import Intake
from services.run import new_run_id
from services.timed_queries import ENDING, TimedQueries
from shared.collector import tune_gc
from shared.errors import QueueUnavailable
from shared.ledger.ledger import open_ledger
from shared.ledger.positions import read_positions
from shared.ledger.totals import totals

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from shared.ledger.ledger import Ledger
    from shared.settings import Settings

    Say = Callable[[str], None]

TICK_SECONDS = 0.1
TROUBLE_SECONDS = 6.0
"""How long requests under way may take to finish where the ledger is away: they wait for that."""

NICENESS = 5
"""Senders wait for intake, and nobody waits for a worker: of two intake goes first."""


def serve(settings: Settings, say: Say) -> bool:
    """Serve until a signal comes, then settle what was accepted; say whether all of it was.

    Raises:
        OrderlyError: With the exit code that it means. What was accepted is kept.
    """
    load_gateway(settings)  # one that cannot be loaded should stop this before it starts
    listener = bind(settings.http_host, settings.http_port, "--port or HTTP_PORT")
    stop = StopRequests()
    with listener:
        ledger = open_ledger(settings)  # where its server is waited for, a signal ends that at once
        ledger.database.hurry()  # whoever writes tries again by itself, and shall hear of it soon
        # Requests that look things up give up waiting; what takes orders in and pays them does not.
        asked = open_ledger(settings, create=False, patience=PATIENCE)
        try:
            with stop.handled():
                return _Service(settings, ledger, asked, listener, stop, say).run()
        finally:
            asked.database.close()
            ledger.database.close()


class _Service:
    """Everything that serves, wired together."""

    def __init__(
        self,
        settings: Settings,
        ledger: Ledger,
        asked: Ledger,
        listener: socket.socket,
        stop: StopRequests,
        say: Say,
    ) -> None:
        self._settings = settings
        self._ledger = ledger
        self._stop = stop
        self._say = say
        run_id = new_run_id()
        self._pipeline = new_pipeline(ledger, settings, run_id=run_id, niceness=NICENESS)
        self._reader = LedgerReader(asked)
        self._queries = TimedQueries(ledger, stop.abort)
        self._verifier = Verifier()
        metrics = Metrics(asked, self._pipeline, settings.queue_mode)
        queue, on_write = self._pipeline.queue, self._pipeline.note_write
        intake = Intake(ledger, queue, settings, run_id=run_id, on_write=on_write)
        self._group_commit = GroupCommit(intake, metrics.intake.block)
        metrics.intake.count_waiting(lambda: self._group_commit.waiting)
        app = new_app(settings)
        orders = Orders(self._group_commit, intake, self._reader, metrics.intake)
        app.include_router(orders.router)
        app.include_router(orders_router(self._reader))
        app.include_router(dead_router(self._reader, self._pipeline.queue))
        app.include_router(ledger_router(settings, self._reader, self._verifier, self._away))
        app.include_router(service_router(self._reader, metrics, self._trouble, self._away))
        self._generator = Generator(
            ledger, lambda: Intake(ledger, queue, settings, run_id=new_run_id(), on_write=on_write)
        )
        app.include_router(self._generator.router)
        if settings.chaos:
            app.include_router(chaos_router(self._reader, self._pipeline))
        broadcast = Broadcast()
        self._live = Live(asked, self._pipeline, settings, broadcast, self._doing)
        app.include_router(page_router(broadcast))
        guard = Guard(app, settings, metrics.intake.response)
        guard.shortcut("POST", "/orders", orders.place_order)
        self._server = HttpServer(
            guard,
            listener,
            Room(settings.payment_workers),
            keep_alive=settings.http_keep_alive,
            each_second=self._group_commit.expire,
        )

    def run(self) -> bool:
        """Serve, drain and end; say whether everything that was accepted is settled."""
        try:
            self._pipeline.start()
            self._group_commit.open()
            tune_gc()
            self._server.start()
            self._live.start()
            self._announce()
            self._watch(lambda: not self._stop.drain.is_set())
            self._finish()
            self._pipeline.drain()
            self._say(self._queries.ask(totals, ENDING).equation)
        except Abandoned as abandoned:
            self._say(str(abandoned))
            self._pipeline.kill()
            return False
        except BaseException:
            self._pipeline.kill()
            raise
        finally:
            self._live.stop()
            self._server.stop()
            self._verifier.close()
            self._reader.close()
        return True

    def _announce(self) -> None:
        settings = self._settings
        who = f"{settings.payment_workers} workers" if settings.payment_workers else "no workers"
        self._say(
            f"serving on {self._server.url} ({settings.queue_mode} mode, {who}); "
            "Ctrl-C settles and ends"
        )
        self._say(f"ledger {self._ledger.name}")
        if not settings.api_token.get_secret_value() and not _is_loopback(settings.http_host):
            self._say(
                f"whoever can reach {settings.http_host} can place orders: set API_TOKEN to "
                "ask for a token"
            )

    def _watch(self, is_wanted: Callable[[], bool]) -> None:
        """Supervise for as long as it is wanted, or until a second signal."""
        while is_wanted():
            if self._stop.abort.is_set():
                raise Abandoned("stopped at once; the next start settles what is open")
            self._server.check()
            self._pipeline.watch(TICK_SECONDS)

    def _finish(self) -> None:
        """Let requests under way end, then settle what was accepted, if nobody else will."""
        rest = "settling what was accepted" if self._pipeline.is_alone else "ending requests"
        self._say(f"{rest}; a second signal stops at once")
        self._group_commit.is_closing = True
        self._generator.close()
        if self._settings.chaos:
            with suppress(QueueUnavailable):
                self._pipeline.pause(is_wanted=False)
        self._live.stop()
        self._verifier.close()
        self._server.stop()
        until = time.monotonic() + TROUBLE_SECONDS
        self._watch(
            lambda: (
                self._server.is_running
                and (self._pipeline.trouble is None or time.monotonic() < until)
            )
        )
        self._group_commit.close()
        if not self._pipeline.is_alone:
            return
        ends = {each.partition: each.head for each in self._queries.ask(read_positions, ENDING)}
        stall = StallDetector()

        def is_unsettled() -> bool:
            positions = self._queries.ask(read_positions)
            waiting = [each for each in positions if each.through < ends[each.partition]]
            stall.observe([each.settled for each in positions], waiting)
            return bool(waiting)

        self._watch(is_unsettled)

    def _doing(self) -> dict[str, Any]:
        """What the page shows beside what is counted."""
        return {"waiting": self._group_commit.waiting, "generator": self._generator.progress}

    def _away(self) -> str | None:
        return self._pipeline.queue_trouble

    def _trouble(self) -> Problem | None:
        if self._group_commit.is_closing:
            return Problem("stopping", "the service is stopping")
        why = self._pipeline.trouble
        return None if why is None else Problem("ledger-unavailable", why)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
