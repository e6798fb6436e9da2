"""What the processes at a queue's other end do; imported by them, so it imports little."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

from shared.queue.port import EndOfQueue

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

    from shared.queue.port import Deliveries

PATIENCE = 60.0


def echo(deliveries: Deliveries, out: Connection) -> None:
    """Hand on every message until the end mark."""
    out.send_bytes(b"ready")
    while True:
        try:
            message = deliveries.receive(PATIENCE)
        except EndOfQueue:
            out.send_bytes(b"end")
            return
        if message is not None:
            out.send_bytes(message)
            deliveries.done()


def hold(deliveries: Deliveries, out: Connection) -> None:
    """Take a message and never finish it."""
    out.send_bytes(b"ready")
    message = deliveries.receive(PATIENCE)
    out.send_bytes(message or b"nothing")
    signal.pause()


def hold_the_lock(deliveries: Deliveries, out: Connection) -> None:
    """Be inside task_done() of a local queue, and never come out of it."""
    deliveries._queue._cond.acquire()  # type: ignore[attr-defined]
    out.send_bytes(b"ready")
    signal.pause()
