"""In the middle of a run containers come, go, freeze and are cut off: the books stay the same."""

from __future__ import annotations

import json
from contextlib import contextmanager, suppress
from itertools import count
from threading import Event, Thread
from typing import TYPE_CHECKING, Any

import pytest

from tests.books import order
from tests.eventually import eventually
from tests.server import lines
from tests.stack import finish

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.stack import Stack

AT_LEAST = 2_000
RATE = 2_000
"""Orders a second, so that no machine is too fast to be meddled with."""

FLOODS = count(1)

KILL = "import os, signal; [os.kill(int(p), signal.SIGKILL) for p in os.listdir('/proc') if {}]"
IS_PAY = "p.isdigit() and b'orderly\\0pay' in open(f'/proc/{p}/cmdline', 'rb').read()"


class Flood:
    """A run that is fed with orders until it is told that it was enough.

    Args:
        stack: Where it runs.
        prefix: What its orders' ids begin with.
    """

    def __init__(self, stack: Stack, prefix: str) -> None:
        self.run = stack.run("-", "--rate", str(RATE))
        self.sent = 0
        self._prefix = prefix
        self._is_enough = Event()
        self._feeder = Thread(target=self._feed, daemon=True)
        self._feeder.start()

    def finish(self) -> dict[str, Any]:
        """Send no more, and return the run's report, which must be a good one."""
        self._is_enough.set()
        self._feeder.join(timeout=60)
        self.run.stdin = None  # closed by the feeder
        return finish(self.run)

    def _feed(self) -> None:
        assert self.run.stdin is not None
        with suppress(BrokenPipeError), self.run.stdin as pipe:
            while self.sent < AT_LEAST or not self._is_enough.is_set():
                self.sent += 1
                # Sixty customers; in time most of them have no money left.
                fields = order(
                    f"{self._prefix}-{self.sent}", f"flood-{self.sent % 60}", self.sent % 2_000
                )
                pipe.write(json.dumps(fields) + "\n")


@contextmanager
def flooded(stack: Stack) -> Iterator[Flood]:
    """Meddle with a stack while it is busy; afterwards the books must be right."""
    before = stack.settled()
    flood = Flood(stack, f"flood{next(FLOODS)}")
    try:
        eventually(lambda: stack.settled() > before + 500, within=60, what="a run under way")
        yield flood
        report = flood.finish()
    finally:
        flood.run.kill()
    assert report["received"] == report["created"] == flood.sent
    assert report["paid"] + report["declined"] == flood.sent
    assert report["verified"] is True
    stack.orderly.assert_serial()


def scale(stack: Stack, number: int) -> list[str]:
    """Have so many payment containers; return their ids."""
    result = stack.make("scale", f"N={number}")
    assert result.code == 0, result
    found = stack.ids("payment")
    assert len(found) == number
    return found


def health(stack: Stack, container: str) -> str:
    return stack.docker("inspect", "-f", "{{.State.Health.Status}}", container).out.strip()


def goes_on(stack: Stack) -> None:
    """Wait until more is settled."""
    before = stack.settled()
    eventually(lambda: stack.settled() > before + 500, within=60, what="progress")


def test_scaling_up_and_down_loses_nothing(redis_stack: Stack) -> None:
    with flooded(redis_stack):
        scale(redis_stack, 4)
        goes_on(redis_stack)
        scale(redis_stack, 1)


def test_a_killed_payment_container_is_made_up_for_by_the_others(redis_stack: Stack) -> None:
    first, second = scale(redis_stack, 2)
    with flooded(redis_stack):
        redis_stack.docker("kill", first)
    assert redis_stack.ids("payment") == [second]
    redis_stack.up()
    assert set(redis_stack.ids("payment")) == {first, second}


def test_a_killed_program_is_started_again(redis_stack: Stack) -> None:
    (payment,) = scale(redis_stack, 1)
    with flooded(redis_stack):
        redis_stack.python("payment", KILL.format(IS_PAY))
    eventually(lambda: health(redis_stack, payment) == "healthy", within=60)
    (found,) = redis_stack.inspect("payment")
    assert found["RestartCount"] == 1


def test_orders_wait_for_payment_containers_that_come_later(redis_stack: Stack) -> None:
    (payment,) = scale(redis_stack, 1)
    with flooded(redis_stack):
        redis_stack.docker("kill", payment)
        redis_stack.docker("start", payment)


@pytest.mark.parametrize("how", ["cut off", "frozen"])
def test_a_payment_container_that_is_silent_holds_nobody_up(redis_stack: Stack, how: str) -> None:
    silent, _ = scale(redis_stack, 2)
    network = f"{redis_stack.project}_backend"
    begin, end = {
        "cut off": (["network", "disconnect", network], ["network", "connect", network]),
        "frozen": (["pause"], ["unpause"]),
    }[how]
    with flooded(redis_stack):
        redis_stack.docker(*begin, silent)
        try:
            goes_on(redis_stack)
            eventually(lambda: not is_counted(redis_stack, silent), within=30, what="it is missed")
        finally:
            redis_stack.docker(*end, silent)
    eventually(lambda: is_counted(redis_stack, silent), within=60, what="it is back")
    eventually(lambda: health(redis_stack, silent) == "healthy", within=60)
    scale(redis_stack, 1)


def is_counted(stack: Stack, container: str) -> bool:
    """Whether the ledger has heard of a container's workers lately."""
    workers = stack.shop.client.get("/status").json()["workers"]
    return any(each["host"] == container[:12] for each in workers)


def restart_redis(stack: Stack) -> None:
    assert stack.compose("restart", "redis").code == 0


def empty_redis(stack: Stack) -> None:
    said = stack.inside(
        "redis", "sh", "-c", "REDISCLI_AUTH=$(cat /run/secrets/redis_password) redis-cli flushall"
    )
    assert said.out == "OK\n"


def restart_postgres(stack: Stack) -> None:
    assert stack.compose("restart", "postgres").code == 0


def kill_postgres(stack: Stack) -> None:
    assert stack.compose("kill", "postgres").code == 0
    assert stack.compose("up", "-d", "--no-build", "--wait", "postgres").code == 0


@pytest.mark.parametrize(
    "meddle",
    [restart_redis, empty_redis, restart_postgres, kill_postgres],
    ids=lambda each: each.__name__,
)
def test_a_server_that_restarts_or_forgets_loses_nothing(
    redis_stack: Stack, meddle: Callable[[Stack], None]
) -> None:
    with flooded(redis_stack):
        meddle(redis_stack)


def test_what_a_producer_accepted_is_paid_though_it_is_killed(redis_stack: Stack) -> None:
    placed = [order(f"door-{number}", f"door-{number % 40}", 500) for number in range(4_000)]
    answers = redis_stack.shop.bulk(lines(placed))
    assert {each["code"] for each in answers} == {202}
    assert redis_stack.compose("kill", "producer").code == 0
    empty_redis(redis_stack)
    settled = "SELECT count(*) FROM outcomes WHERE order_id LIKE 'door-%'"
    eventually(lambda: redis_stack.query(settled) == [["4000"]], within=60, what="all is settled")
    redis_stack.up()
    redis_stack.orderly.assert_serial()


def test_a_run_that_was_killed_goes_on_where_it_was(stack: Stack) -> None:
    arguments = ("--orders", str(2 * AT_LEAST), "--seed", "77")
    before = stack.settled()
    with stack.run(*arguments, "--rate", "1000") as run:
        eventually(lambda: stack.settled() > before + 500, within=60, what="a run under way")
        assert stack.compose("kill", stack.door).code == 0
        run.communicate(timeout=30)
    stack.up()
    with stack.run(*arguments) as run:
        report = finish(run)
    assert report["created"] + report["duplicates"] == 2 * AT_LEAST
    assert report["duplicates"] > 500
    stack.orderly.assert_serial()
