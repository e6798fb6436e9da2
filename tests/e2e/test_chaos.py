"""In the middle of a run containers come, go, freeze and are cut off: the result stays the same."""

from __future__ import annotations

import json
from contextlib import contextmanager, suppress
from itertools import count
from threading import Event, Thread
from typing import TYPE_CHECKING, Any

from tests.support.eventually import eventually
from tests.support.ledgers import order
from tests.support.server import lines
from tests.support.stack import LASTING, finish

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.stack import Stack

AT_LEAST = 2_000
RATE = 1_000
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

    def close(self) -> None:
        """End what is left of it."""
        self._is_enough.set()
        self.run.kill()
        self._feeder.join(timeout=10)
        for pipe in (self.run.stdout, self.run.stderr):
            assert pipe is not None
            pipe.close()
        self.run.wait()

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
    """Meddle with a stack while it is busy; afterwards the result must be right."""
    before = settled(stack)
    flood = Flood(stack, f"flood{next(FLOODS)}")
    try:
        eventually(lambda: settled(stack) > before + 500, within=60, what="a run under way")
        yield flood
        report = flood.finish()
    finally:
        flood.close()
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


def settled(stack: Stack) -> int:
    """Count the orders that are not open any more; none as long as the service cannot say."""
    found = stack.shop.client.get("/status")
    return int(found.json()["created"] - found.json()["open"]) if found.is_success else 0


def goes_on(stack: Stack) -> None:
    """Wait until more is settled."""
    before = eventually(lambda: settled(stack), within=60, what="the service knows")
    eventually(lambda: settled(stack) > before + 300, within=60, what="progress")


def test_payment_containers_come_and_go(redis_stack: Stack) -> None:
    with flooded(redis_stack):
        (first,) = redis_stack.ids("payment")
        scale(redis_stack, 3)
        goes_on(redis_stack)
        # The program of the first one is killed: the engine starts it again.
        redis_stack.python("payment", KILL.format(IS_PAY))
        goes_on(redis_stack)
        eventually(lambda: restarts(redis_stack, first) == 1, within=30, what="its restart")
        _, second, third = sorted(redis_stack.ids("payment"), key=lambda each: each != first)
        redis_stack.docker("kill", second)
        goes_on(redis_stack)
        # With the others gone, orders are accepted and wait.
        redis_stack.docker("kill", first, third)
        redis_stack.docker("start", third)
        goes_on(redis_stack)
    up = redis_stack.up()
    assert len(redis_stack.ids("payment")) == 3, up
    scale(redis_stack, 1)


def restarts(stack: Stack, container: str) -> int:
    return int(stack.docker("inspect", "-f", "{{.RestartCount}}", container).out)


def test_payment_containers_that_are_silent_hold_nobody_up(redis_stack: Stack) -> None:
    cut_off, frozen, _ = silent = scale(redis_stack, 3)
    network = f"{redis_stack.project}_backend"
    with flooded(redis_stack):
        redis_stack.docker("network", "disconnect", network, cut_off)
        redis_stack.docker("pause", frozen)
        try:
            goes_on(redis_stack)
            eventually(lambda: len(hosts(redis_stack)) == 1, within=30, what="they are missed")
        finally:
            redis_stack.docker("unpause", frozen)
            redis_stack.docker("network", "connect", network, cut_off)
        eventually(lambda: len(hosts(redis_stack)) == 3, within=60, what="they are back")
        goes_on(redis_stack)
    for each in silent:
        eventually(lambda: health(redis_stack, each) == "healthy", within=90)  # noqa: B023
    scale(redis_stack, 1)


def hosts(stack: Stack) -> set[str]:
    """Name the containers of whose workers the ledger has heard lately."""
    return {each["host"] for each in stack.shop.client.get("/status").json()["workers"]}


def test_servers_that_restart_die_or_forget_lose_nothing(redis_stack: Stack) -> None:
    with flooded(redis_stack):
        assert redis_stack.compose("restart", "redis").code == 0
        goes_on(redis_stack)
        empty_redis(redis_stack)
        goes_on(redis_stack)
        assert redis_stack.compose("restart", "postgres").code == 0
        goes_on(redis_stack)
        assert redis_stack.compose("kill", "postgres", "redis").code == 0
        redis_stack.start("postgres", "redis")
        goes_on(redis_stack)


def empty_redis(stack: Stack) -> None:
    said = stack.inside(
        "redis", "sh", "-c", "REDISCLI_AUTH=$(cat /run/secrets/redis_password) redis-cli flushall"
    )
    assert said.out == "OK\n"


def test_services_that_are_told_to_stop_end_well_and_in_time(stack: Stack) -> None:
    answers = stack.shop.bulk(lines(order(f"stop-{at}", f"c-{at}") for at in range(2_000)))
    assert {each["code"] for each in answers} == {202}
    # The first to go are those that depend on the others.
    services = LASTING[stack.mode]
    assert stack.compose("stop", *services).code == 0
    ends = {name: stack.inspect(name)[0]["State"]["ExitCode"] for name in services}
    assert ends == dict.fromkeys(services, 0)
    stack.start(*services)
    stack.shop.settle()
    stack.orderly.assert_serial()


def test_what_a_producer_accepted_is_paid_though_it_is_killed(redis_stack: Stack) -> None:
    placed = [order(f"made-{number}", f"made-{number % 40}", 500) for number in range(4_000)]
    answers = redis_stack.shop.bulk(lines(placed))
    assert {each["code"] for each in answers} == {202}
    assert redis_stack.compose("kill", "producer").code == 0
    empty_redis(redis_stack)
    settled = "SELECT count(*) FROM outcomes WHERE order_id LIKE 'made-%'"
    eventually(lambda: redis_stack.query(settled) == [(4000,)], within=60, what="all is settled")
    redis_stack.start("producer")
    redis_stack.orderly.assert_serial()


def test_a_run_that_was_killed_goes_on_where_it_was(stack: Stack) -> None:
    arguments = ("--orders", str(2 * AT_LEAST), "--seed", "77")
    before = settled(stack)
    with stack.run(*arguments, "--rate", str(RATE)) as run:
        eventually(lambda: settled(stack) > before + 500, within=60, what="a run under way")
        assert stack.compose("kill", stack.producer).code == 0
        run.communicate(timeout=30)
    stack.start(stack.producer)
    with stack.run(*arguments) as run:
        report = finish(run)
    assert report["created"] + report["duplicates"] == 2 * AT_LEAST
    assert report["duplicates"] > 500
    stack.orderly.assert_serial()
