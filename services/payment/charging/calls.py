"""Calls that are out: started, ended, or given up after GATEWAY_TIMEOUT, their late answers heard.

A coroutine runs on the loop of the calls, a plain function in a thread. A call that is given up
goes on for as long again; then a coroutine is ended, and a thread is left to itself.
"""

from __future__ import annotations

import asyncio
import inspect
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from services.payment.charging.book import Call, Purpose
from services.payment.charging.threads import CallThreads
from services.payment.gateway import PAID
from services.payment.verdicts import Kind, Verdict, of_answer, of_charge, of_failure
from shared.texts import legible, of_error

if TYPE_CHECKING:
    from collections.abc import Callable

    from services.payment.charging.book import Row
    from services.payment.gateway import Charge
    from services.payment.outside import OutsideGateway

FREEZE_SECONDS = 1.0
"""A loop that stood still for longer has been frozen: answers may wait to be read."""


class Calls:
    """Calls one gateway.

    Args:
        gateway: Which.
        timeout: Seconds after which a call is given up.
        most: Most calls at once.
        on_end: Told how each call ended: once in time, or as given up and perhaps once more.

    Attributes:
        out: Calls that somebody waits for.
    """

    def __init__(
        self,
        gateway: OutsideGateway,
        timeout: float,
        most: int,
        on_end: Callable[[Call, Verdict], None],
    ) -> None:
        self._gateway = gateway
        self._timeout = timeout
        self._on_end = on_end
        self._loop = asyncio.get_running_loop()
        self._traits = gateway.traits
        self._there: Any = gateway.make() if self._traits.is_async else None
        self._threads = CallThreads(gateway.make, most + 1)  # one for a probe
        # Oldest first, since all have the same time.
        self._out: dict[Call, None] = {}
        self._late: dict[Call, None] = {}
        self._looked_at = time.monotonic()

    @property
    def out(self) -> int:
        """Calls that somebody waits for."""
        return len(self._out)

    def rows(self) -> list[Row]:
        """The orders that calls are out for."""
        return [call.row for call in self._out if call.row is not None]

    @property
    def stuck_for(self) -> float:
        """Seconds since the oldest call that hangs in a thread was given up."""
        first = next((each for each in self._late if each.task is None), None)
        return 0.0 if first is None else time.monotonic() - first.deadline

    def begin(self, purpose: Purpose, row: Row, charge: Charge) -> Call:
        """Ask for an order's money, or what has become of its charge."""
        return self._start(purpose, row, charge)

    def ping(self) -> Call:
        """Ask whether the backend is there."""
        return self._start(Purpose.PING, None, None)

    def look(self) -> None:
        """Give up what takes too long; call it several times a second."""
        now = time.monotonic()
        lag, self._looked_at = now - self._looked_at, now
        if lag > FREEZE_SECONDS:
            for call in self._out:
                call.deadline += lag
        for call in [each for each in self._out if each.deadline <= now]:
            self._give_up(call)
        for call in [each for each in self._late if each.deadline + self._timeout <= now]:
            if call.task is not None:
                call.task.cancel()

    async def close(self) -> None:
        """Wait for nobody any more."""
        tasks = [each.task for each in (*self._out, *self._late) if each.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        close = getattr(self._there, "close", None)
        if inspect.iscoroutinefunction(close):
            await close()

    def _start(self, purpose: Purpose, row: Row | None, charge: Charge | None) -> Call:
        call = Call(purpose, row, self._timeout)
        self._out[call] = None
        function = purpose.value
        if inspect.iscoroutinefunction(getattr(self._there, function, None)):
            call.task = self._loop.create_task(self._await(call, function, charge))
            return call

        def work(gateway: object) -> None:
            verdict = self._ask(gateway, call, function, charge)
            with suppress(RuntimeError):  # the loop has ended, and nobody waits any more
                self._loop.call_soon_threadsafe(self._end, call, verdict)

        try:
            self._threads.submit(work)
        except RuntimeError as error:
            verdict = Verdict(Kind.UNAVAILABLE, f"no room for a thread: {error}")
            self._loop.call_soon(self._end, call, verdict)
        return call

    async def _await(self, call: Call, function: str, charge: Charge | None) -> None:
        try:
            verdict = self._strike(call, charge)
            if verdict is None:
                method = getattr(self._there, function)
                answer = await (method() if charge is None else method(charge))
                verdict = _understand(call.purpose, answer)
        except asyncio.CancelledError as error:
            verdict = Verdict(Kind.DOUBT, "given up") if call.is_given_up else of_failure(error)
        except BaseException as error:  # noqa: BLE001  whatever a gateway of one's own may raise
            verdict = of_failure(error)
        self._end(call, verdict)

    def _ask(self, gateway: Any, call: Call, function: str, charge: Charge | None) -> Verdict:  # noqa: ANN401
        """Call a gateway in a thread."""
        if isinstance(gateway, BaseException):
            why = legible(f"the gateway cannot be made: {of_error(gateway)}")
            return Verdict(Kind.UNAVAILABLE, why)
        if self._there is not None:
            gateway = self._there  # a plain method of an asynchronous one
        try:
            verdict = self._strike(call, charge)
            if verdict is None:
                method = getattr(gateway, function)
                answer = method() if charge is None else method(charge)
                if inspect.iscoroutine(answer):
                    answer = asyncio.run(answer)
                verdict = _understand(call.purpose, answer)
        except BaseException as error:  # noqa: BLE001  as above
            verdict = of_failure(error)
        return verdict

    def _strike(self, call: Call, charge: Charge | None) -> Verdict | None:
        """Fail on purpose, where that is wanted."""
        faults = self._gateway.faults
        if faults is None or charge is None or call.purpose is not Purpose.CHARGE:
            return None
        try:
            faults.strike(charge)
        except Exception as error:  # noqa: BLE001  only the two that it raises
            return of_failure(error)
        return None

    def _end(self, call: Call, verdict: Verdict) -> None:
        call.has_ended = True
        if call in self._late:
            del self._late[call]
            if call.task is None:
                self._threads.regain()
        else:
            self._out.pop(call, None)
        self._on_end(call, verdict)

    def _give_up(self, call: Call) -> None:
        del self._out[call]
        self._late[call] = None
        call.is_given_up = True
        if call.task is None:
            self._threads.give_up()
        why = f"no answer within {self._timeout:g} s"
        self._on_end(call, Verdict(Kind.DOUBT, why, is_late=True))


def _understand(purpose: Purpose, answer: object) -> Verdict:
    if purpose is Purpose.CHARGE:
        return of_charge(answer)
    if purpose is Purpose.LOOKUP:
        return of_answer(answer)
    return of_answer(PAID)  # it has come back, whatever it says
