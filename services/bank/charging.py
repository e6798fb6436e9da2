"""The charge as a client meets it: the key, the faults of the day, and the answer."""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from services.bank.charges import PAID, read_key, read_request
from services.bank.faults import Draws, Fault, Faults
from services.bank.posting import Asked
from services.bank.problems import Problem
from services.bank.requests import JSON, Answer, hang_up, hold, read_body

if TYPE_CHECKING:
    from services.bank.posting import Posted
    from services.bank.requests import Receive, Scope, Send
    from services.bank.writer import Writer


class Charging:
    """Answers requests to charge.

    Args:
        writer: What posts the charges.
    """

    def __init__(self, writer: Writer) -> None:
        self._writer = writer
        self._at_work: set[str] = set()
        self._pauses = Pauses()
        self.set_faults(Faults())

    @property
    def faults(self) -> Faults:
        """The faults in force."""
        return self._draws.faults

    def set_faults(self, faults: Faults) -> None:
        """Put others in force, for requests from now on, and begin to count requests anew."""
        self._draws = Draws(faults)

    def hurry(self) -> None:
        """Let nothing take longer than it must: the bank is about to end."""
        self._pauses.end()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Charge, once a key.

        Raises:
            Problem: Nothing was charged, unless it says otherwise.
        """
        key = read_key([value for name, value in scope["headers"] if name == b"idempotency-key"])
        request = read_request(await read_body(scope, receive))
        draws = self._draws
        asked = Asked(key, request, honours_key=not draws.faults.forget)
        if asked.honours_key:
            if key in self._at_work:
                raise Problem("key-in-use", f"the first request of the key {key} is at work")
            self._at_work.add(key)
        try:
            count = draws.ask(key)
            fault = draws.fault(key, count)
            posted = await self._charge(asked, draws, count, fault)
        finally:
            if asked.honours_key:
                self._at_work.discard(key)
        if fault is Fault.TIMEOUT:
            await hold(scope, receive)
        elif fault is Fault.LOST_AFTER:
            await hang_up(scope, receive)
        elif posted is not None:
            answer = _answer_of(posted)
            if fault is Fault.CUT:
                await answer.send_half(send)
                await hang_up(scope, receive)
            else:
                await answer.send(send)

    async def _charge(
        self, asked: Asked, draws: Draws, count: int, fault: Fault | None
    ) -> Posted | None:
        """Take the money, as far as the faults let that happen."""
        faults, key = draws.faults, asked.key
        if faults.latency_before:
            await self._pauses.wait(draws.seconds(faults.latency_before, key, count, "before"))
        if fault is Fault.THROTTLE:
            raise Problem("throttled")
        if fault is Fault.REFUSE:
            raise Problem("refused")
        if fault is Fault.FAIL_BEFORE:
            raise Problem("failed")
        if fault is Fault.TIMEOUT and not draws.is_charged(key, count):
            return None
        posted = await self._writer.post(asked)
        if faults.latency_after:
            await self._pauses.wait(draws.seconds(faults.latency_after, key, count, "after"))
        return posted


def _answer_of(posted: Posted) -> Answer:
    """Write the answer; a replayed one differs from the first by a header alone."""
    charge = posted.charge
    status = HTTPStatus.OK if charge.status == PAID else HTTPStatus.PAYMENT_REQUIRED
    headers = [JSON, (b"idempotent-replayed", b"true")] if posted.is_replayed else [JSON]
    return Answer(status, charge.document(), headers)


class Pauses:
    """Waits that can be ended, all at once."""

    def __init__(self) -> None:
        self._waiting: set[asyncio.Future[Any]] = set()
        self._are_over = False

    async def wait(self, seconds: float) -> None:
        """Wait so long, or until nobody is to wait any more."""
        if self._are_over:
            return
        loop = asyncio.get_running_loop()
        over = loop.create_future()
        timer = loop.call_later(seconds, _end, over)
        self._waiting.add(over)
        try:
            await over
        finally:
            timer.cancel()
            self._waiting.discard(over)

    def end(self) -> None:
        """End those that wait, and those that would."""
        self._are_over = True
        for each in self._waiting:
            _end(each)


def _end(future: asyncio.Future[Any]) -> None:
    if not future.done():
        future.set_result(None)
