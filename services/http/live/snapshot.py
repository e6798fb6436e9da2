"""What the page shows, sampled from counters: one reading for all who look.

A thread reads the ledger's counters and of the workers, once a second while nobody looks, so that
there is a history when somebody does, and four times a second then. A snapshot is whole: whoever
gets one needs none of those before it.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any

from services.http.live.history import Counters, History
from services.http.live.json_members import members_of, object_of
from services.http.live.latest import Latest
from shared import clock
from shared.errors import LedgerUnavailable, QueueUnavailable
from shared.ledger.doubts import count_doubtful
from shared.ledger.positions import read_positions
from shared.ledger.totals import totals
from shared.ledger.workers import is_gateway_away
from shared.logs import Logger
from shared.metrics import LATENCY_BOUNDS, Meter
from shared.resilience import Mishaps
from shared.texts import said

if TYPE_CHECKING:
    from collections.abc import Callable

    from services.http.live.broadcast import Broadcast
    from services.pipeline.base import Pipeline
    from services.pipeline.worker_stats import WorkerStats
    from shared.ledger.ledger import Ledger
    from shared.ledger.positions import Position
    from shared.ledger.totals import Totals
    from shared.ledger.workers import WorkerEntry
    from shared.settings import Settings

PER_SECOND = 4

log = Logger("live")


class Live:
    """Samples, and sends what it finds to a broadcast.

    Args:
        ledger: What is counted.
        pipeline: Who works.
        settings: What is shown of them.
        broadcast: Where snapshots go.
        doing: Adds what else is going on, such as the generator's progress.
    """

    def __init__(
        self,
        ledger: Ledger,
        pipeline: Pipeline,
        settings: Settings,
        broadcast: Broadcast,
        doing: Callable[[], dict[str, Any]],
    ) -> None:
        self._ledger = ledger
        self._pipeline = pipeline
        self._broadcast = broadcast
        self._doing = doing
        self._history = History(LATENCY_BOUNDS)
        self._fixed: dict[str, Any] = {
            "mode": settings.queue_mode,
            "ledger": ledger.name,
            "started": round(time.time(), 1),
            "needs_token": bool(settings.api_token.get_secret_value()),
            "chaos": settings.chaos,
            "max_pending": settings.max_pending,
        }
        self._counted: dict[str, Any] = {}
        self._counted_at: float | None = None
        self._lists = Latest(ledger)
        self._restarts: dict[tuple[str, int], int] = {}
        self._holders: dict[int, str] = {}
        self._flags: dict[str, bool] = {}
        self._queue_trouble: str | None = None
        self._sent = (("", "", ""), 0.0)
        self._charts = ""
        self._is_stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="live", daemon=True)

    def start(self) -> None:
        """Begin to sample."""
        self._history.mark(time.time(), "service started")
        self._thread.start()

    def stop(self) -> None:
        """Say that the service stops, to all who listen, and end."""
        if not self._is_stopping.is_set() and self._thread.is_alive():
            self._is_stopping.set()
            self._broadcast.is_wanted.set()
            self._thread.join(1.0)
        self._broadcast.close()

    def _run(self) -> None:
        wanted = self._broadcast.is_wanted
        mishaps = Mishaps(log, "sampling failed")
        while not self._is_stopping.is_set():
            with mishaps.survived():  # without this thread pages starve
                self._sample()
            now = time.time()
            pace = PER_SECOND if self._broadcast.listeners else 1
            # On the beat of the clock, so that a second's point is a second's.
            if wanted.wait((int(now * pace) + 1) / pace - now):
                wanted.clear()
        with mishaps.survived():
            self._sample()

    def _sample(self) -> None:
        is_watched = self._broadcast.listeners > 0
        doing = self._doing()  # before the counters: what it calls made, they have counted
        trouble = None
        now = time.time()
        try:
            with self._ledger.database.read() as connection:
                positions = read_positions(connection)
                found = totals(connection, positions)
                stats = self._pipeline.worker_stats(connection)
                in_doubt = count_doubtful(connection)
                if is_watched:
                    self._lists.refresh(connection, positions, found)
        except LedgerUnavailable as error:
            trouble = said(error)
        else:
            self._count(now, positions, found, stats, in_doubt)
        flags = self._look_around(now, trouble)
        if is_watched or self._is_stopping.is_set():
            troubles = {"trouble": trouble, "queue_trouble": self._queue_trouble}
            self._send(now, {**flags, **troubles, **doing})

    def _count(
        self,
        now: float,
        positions: list[Position],
        found: Totals,
        stats: WorkerStats | None,
        in_doubt: int,
    ) -> None:
        entries = stats.entries if stats else []
        meter = stats.meter if stats else Meter()
        counters = Counters(
            found.created, sum(position.settled for position in positions), meter.latency.counts
        )
        self._note_losses(now, entries)
        if self._history.observe(now, counters):
            self._charts = members_of(self._history.as_dict())
        for entry in entries:
            own = self._pipeline.partitions_of(entry.slot)
            held = own if own is not None else [entry.partition]
            self._holders |= {each: entry.worker for each in held if each is not None}
        there = {entry.worker for entry in entries}
        self._counted_at = round(now, 2)
        self._counted = {
            **found.as_dict(),
            "queue": self._pipeline.depth,
            "gateway_away": is_gateway_away(entries),
            "calls_out": sum(entry.calls_out for entry in entries),
            "in_doubt": in_doubt,
            "balanced": found.is_balanced,
            "partitions": [
                {
                    "open": position.open,
                    "settled": position.settled,
                    "worker": holder
                    if (holder := self._holders.get(position.partition)) in there
                    else None,
                }
                for position in positions
            ],
            "workers": [_worker(entry, now) for entry in entries],
        }

    def _note_losses(self, now: float, entries: list[WorkerEntry]) -> None:
        """Mark who was replaced since the last look."""
        for entry in entries:
            key = entry.run_id, entry.slot
            if entry.restarts > self._restarts.get(key, entry.restarts):
                self._history.mark(now, f"worker {entry.slot} replaced")
                self._restarts[key] = entry.restarts
            self._restarts.setdefault(key, entry.restarts)

    def _look_around(self, now: float, trouble: str | None) -> dict[str, bool]:
        """Find out what state everything is in, and mark what has changed."""
        try:
            is_paused, why = self._pipeline.is_paused, self._pipeline.queue_trouble
        except QueueUnavailable as error:
            is_paused = self._flags.get("paused", False)
            why = self._pipeline.queue_trouble or str(error)
        self._queue_trouble = why
        flags = {"paused": is_paused, "cut_off": why is not None, "unread": trouble is not None}
        labels = {
            "paused": ("resumed", "paused"),
            "cut_off": ("Redis back", "Redis away"),
            "unread": ("ledger back", "ledger away"),
        }
        for name, is_so in flags.items():
            if is_so is not self._flags.get(name, False):
                self._history.mark(now, labels[name][is_so])
                self._charts = members_of(self._history.as_dict())
        self._flags = flags
        return flags

    def _send(self, now: float, state: dict[str, Any]) -> None:
        """Publish a snapshot if there is news, and one a second in any case."""
        stopping = self._is_stopping.is_set()
        head = members_of({**self._fixed, **self._counted, **state, "stopping": stopping})
        news = head, self._charts, self._lists.members
        same = news == self._sent[0]
        if stopping or not same or now - self._sent[1] >= 1 - 1 / PER_SECOND:
            self._sent = (news, now)
            times = members_of({"at": round(now, 2), "read": self._counted_at})
            self._broadcast.publish(object_of(*news, times))


def _worker(entry: WorkerEntry, now: float) -> dict[str, Any]:
    names = ("worker", "slot", "host", "pid", "state", "partition", "settled", "restarts")
    fields = entry._asdict()
    silent = max(0, round(now - entry.seen_at / clock.SECOND))
    return {name: fields[name] for name in names} | {"silent": silent}
