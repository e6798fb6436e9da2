"""A user's way through both modes, as the README has it: up, demo, another mode, down, reset."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from tests.support.stack import SERVICES, Stack

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.orderly import Result

SAMPLE = {"received": "2,984", "created": "2,841", "duplicates": "0", "rejected": "143"}
SETTLED = {"paid": "1,240", "declined": "1,601", "dead": "0", "open": "0"}
LEDGERS = {
    "redis": "postgresql://orderly@postgres/orderly",
    "local": "sqlite:///var/orderly.db",
}
MONEY = {"money taken": "27,929.74 USD", "verified": "yes"}


def reports(result: Result) -> list[dict[str, str]]:
    """Read the reports of runs that a target printed."""
    found: list[dict[str, str]] = []
    for line in result.out.splitlines():
        match = re.match(r"([a-z ]{3,15}?) {2,}(\S.*)$", line)
        if match and match[1] == "received":
            found.append({})
        if match and found:
            found[-1].setdefault(match[1], match[2])
    return found


def counts(report: dict[str, str]) -> dict[str, str]:
    return {name: report[name] for name in (*SAMPLE, *SETTLED, *MONEY)}


def in_mode(stack: Stack, mode: str) -> Stack:
    """Let the next commands be in this mode, as one would with QUEUE_MODE=... make."""
    stack.mode = stack.environment["QUEUE_MODE"] = mode
    return stack


@pytest.fixture(scope="module")
def project() -> Iterator[Stack]:
    """A project in which nothing runs yet."""
    stack = Stack("redis")
    try:
        yield stack
    finally:
        stack.close()


@pytest.fixture(scope="module")
def demos() -> dict[str, dict[str, str]]:
    """What the demo counted in each mode."""
    return {}


@pytest.mark.parametrize("mode", ["redis", "local"], scope="class")
class TestEachMode:
    """The same steps in one mode, and then in the other."""

    def test_up_sends_the_sample_and_ends_with_what_to_do_next(
        self, project: Stack, mode: str
    ) -> None:
        result = in_mode(project, mode).up()
        (report,) = reports(result)
        assert counts(report) == SAMPLE | SETTLED | MONEY
        said = result.out[result.out.index("orderly: up") :]
        assert f"mode     {mode}" in said
        assert f"address  http://127.0.0.1:{project.port}," in said
        assert f"ledger   {LEDGERS[mode]} in the volume {project.project}_" in said
        assert "make demo" in said

    def test_the_stack_of_the_other_mode_is_gone(self, project: Stack, mode: str) -> None:
        other = "local" if mode == "redis" else "redis"
        assert not [name for name in SERVICES[other] if project.ids(name, gone=True)]
        assert project.shop.client.get("/status").json()["mode"] == mode

    def test_demo_sends_new_orders_and_proves_them(
        self, project: Stack, mode: str, demos: dict[str, dict[str, str]]
    ) -> None:
        result = project.make("demo", "SEED=7")
        assert result.code == 0, result
        again, demo = reports(result)
        assert again["duplicates"] == SAMPLE["created"], result
        assert demo["created"] == demo["received"] == "20,000"
        assert "\nverified\n" in result.out
        project.orderly.assert_serial()
        demos[mode] = counts(demo)

    def test_down_and_up_keeps_the_ledger(self, project: Stack, mode: str) -> None:
        before = project.orderly.totals()
        down = project.make("down")
        assert down.code == 0, down
        assert "make up" in down.out
        assert not [name for name in SERVICES[mode] if project.ids(name, gone=True)]
        (report,) = reports(project.up())
        assert report["duplicates"] == SAMPLE["created"]
        assert project.orderly.totals() == before


def test_the_demo_gave_the_same_counts_in_both_modes(demos: dict[str, dict[str, str]]) -> None:
    assert demos["redis"] == demos["local"]


def test_what_runs_can_be_listed_and_read(project: Stack) -> None:
    listed, said = project.make("ps"), project.make("logs")
    assert (listed.code, said.code) == (0, 0)
    assert f"127.0.0.1:{project.port}->8000/tcp" in listed.out
    assert "make logs" in listed.out
    assert "serving on" in said.out


def test_reset_asks_and_removes_everything_or_nothing(project: Stack) -> None:
    before = project.leftovers()
    assert project.secrets.is_dir()
    refused = project.make("reset")
    assert refused.code != 0
    assert "YES=1" in refused.err
    assert project.leftovers() == before
    removed = project.make("reset", "YES=1")
    assert removed.code == 0, removed
    assert not project.leftovers()
