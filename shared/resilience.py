"""How loops go on, whatever they meet: they say it, wait a little, and try again.

Whoever runs for days meets what nobody thought of: an error that its driver had kept for itself, a
system without threads or descriptors to give, a bug. A loop that ended then would leave a service
that looks alive.
"""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import threading
    from collections.abc import Iterator

    from shared.logs import Logger

AGAIN_SECONDS = 60.0
"""The same exception is told again after so long, with the number of times that it was met."""

_KINDS = 20


class Backoff:
    """The wait before the next try: twice as long after each failure, up to a limit.

    Args:
        least: Seconds after the first failure.
        most: The limit, in seconds.

    Attributes:
        seconds: How long to wait; 0 while nothing has failed.
    """

    def __init__(self, least: float = 0.05, most: float = 2.0) -> None:
        self._least = least
        self._most = most
        self.seconds = 0.0

    def grow(self) -> float:
        """Count a failure; return the seconds to wait now."""
        self.seconds = min(self._most, self.seconds * 2 or self._least)
        return self.seconds

    def reset(self) -> None:
        """Count a success."""
        self.seconds = 0.0


class Mishaps:
    """The unexpected exceptions of one loop.

    Args:
        log: Where they are told, each kind once in a while.
        event: What failed, as the log is to call it.

    Attributes:
        backoff: The wait before the next step; none after one that went well.
        latest: What went wrong in the step before, in words; None if nothing did.
    """

    def __init__(self, log: Logger, event: str) -> None:
        self._log = log
        self._event = event
        self._told: dict[tuple[type, int], float] = {}
        self._untold = 0
        self.backoff = Backoff()
        self.latest: str | None = None

    @contextmanager
    def survived(self, *known: type[BaseException]) -> Iterator[None]:
        """Take one step; only what is ``known`` gets through, and a Ctrl-C."""
        try:
            yield
        except known:
            raise
        except (Exception, SystemExit) as error:  # noqa: BLE001  that is what this is for
            self.meet(error)
        else:
            self.backoff.reset()
            self.latest = None

    def wait(self, woken: threading.Event | None = None) -> None:
        """Wait, unless the last step went well."""
        if not self.backoff.seconds:
            return
        if woken is None:
            time.sleep(self.backoff.seconds)
        else:
            woken.wait(self.backoff.seconds)

    def meet(self, error: BaseException, **fields: object) -> None:
        """Tell an exception that is being handled, unless one like it was told lately."""
        self.backoff.grow()
        self.latest = f"{type(error).__name__}: {error}"
        now, kind = time.monotonic(), (type(error), _line(error))
        if now - self._told.get(kind, -AGAIN_SECONDS) < AGAIN_SECONDS:
            self._untold += 1
            return
        if len(self._told) >= _KINDS:
            self._told.clear()
        self._told[kind] = now
        untold, self._untold = self._untold, 0
        self._log.exception(self._event, **fields, **({"untold": untold} if untold else {}))


def _line(error: BaseException) -> int:
    """Where it was raised: two of one type need not be the same."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return trace.tb_lineno if trace else 0
