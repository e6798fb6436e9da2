"""Breaking things over HTTP: only where it is allowed, in both modes, and nothing gets lost."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.eventually import eventually
from tests.support.ledgers import order
from tests.support.listening import listening, snapshot
from tests.support.server import BEARER, TOKEN, Server, problem_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.scaled import Scaled

ROUTES = ("/chaos/kill", "/chaos/pause", "/chaos/resume")


@pytest.fixture(params=["local", "redis"])
def stage(request: pytest.FixtureRequest) -> Iterator[Server]:
    """A running service that may be broken, and workers that obey, in each mode."""
    if request.param == "local":
        server: Server = request.getfixturevalue("server")
        server.orderly.environment["CHAOS"] = "1"
    else:
        server = request.getfixturevalue("scaled_server")
        scaled: Scaled = request.getfixturevalue("scaled")
        scaled.environment["CHAOS"] = "1"
        scaled.pay(2)
    yield server.start()
    server.client.post("/chaos/resume")
    server.settle()
    assert server.stop().code == 0
    server.orderly.assert_serial()


def place(server: Server, count: int, name: str) -> None:
    for number in range(count):
        assert server.place(order(f"{name}-{number}", f"c-{number}")).status_code == 202


def test_without_leave_there_is_nothing_to_break_things_with(shop: Server) -> None:
    for path in ROUTES:
        problem_of(shop.client.post(path, json={}), 404, "not-found")
    assert not snapshot(shop)["chaos"]
    assert not [path for path in shop.client.get("/openapi.json").json()["paths"] if "ch" in path]


def test_a_worker_is_killed_by_name_and_replaced(stage: Server) -> None:
    stage.client.post("/generator", json={"orders": 3000, "rate": 1500})
    victim = eventually(lambda: snapshot(stage)["workers"])[0]["worker"]
    response = stage.client.post("/chaos/kill", json={"worker": victim})
    assert (response.status_code, response.json()) == (202, {"worker": victim})
    with listening(stage) as snapshots:
        after = next(
            each
            for each in snapshots
            if sum(worker["restarts"] for worker in each["workers"]) == 1
            and any("replaced" in mark["label"] for mark in each["marks"])
        )
    assert victim not in {each["worker"] for each in after["workers"]}
    assert len(after["workers"]) == 2
    eventually(lambda: stage.settle()["created"] == 3000)


@pytest.mark.long
def test_any_worker_is_killed_where_none_is_named(stage: Server) -> None:
    before = {each["worker"] for each in eventually(lambda: snapshot(stage)["workers"])}
    assert stage.client.post("/chaos/kill", json={}).status_code == 202

    def one_was_replaced() -> bool:
        after = {each["worker"] for each in snapshot(stage)["workers"]}
        return len(after) == 2 and len(after - before) == 1

    eventually(one_was_replaced)


@pytest.mark.long
def test_who_is_not_there_cannot_be_killed(stage: Server) -> None:
    wanted = {"worker": "elsewhere:1"}
    problem_of(stage.client.post("/chaos/kill", json=wanted), 404, "unknown-worker")
    wrong = {"worker": 7}
    problem_of(stage.client.post("/chaos/kill", json=wrong), 422, "invalid-request")


@pytest.mark.long
def test_consumers_pause_and_go_on(stage: Server) -> None:
    place(stage, 3, "before")
    stage.settle()
    assert stage.client.post("/chaos/pause").json() == {"paused": True}
    with listening(stage) as snapshots:
        next(each for each in snapshots if each["paused"])
    if snapshot(stage)["mode"] == "redis":
        # Each hears of it within a quarter of a second, and finishes what it has in hand.
        with listening(stage) as snapshots:
            first = next(snapshots)["at"]
            next(each for each in snapshots if each["at"] - first > 1.5)
    place(stage, 5, "meanwhile")
    with listening(stage) as snapshots:
        start = next(snapshots)["at"]
        seen = [next(each for each in snapshots if each["at"] - start > wait) for wait in (1, 2, 3)]
    assert [each["open"] for each in seen] == [5, 5, 5]
    assert {worker["restarts"] for each in seen for worker in each["workers"]} == {0}
    assert stage.client.post("/chaos/resume").json() == {"paused": False}
    assert stage.settle()["created"] == 8


@pytest.mark.long
def test_a_worker_that_replaces_another_is_paused_too(stage: Server) -> None:
    stage.client.post("/chaos/pause")
    before = {each["worker"] for each in eventually(lambda: snapshot(stage)["workers"])}
    for victim in before:
        stage.client.post("/chaos/kill", json={"worker": victim})
        eventually(lambda gone=victim: gone not in names(stage))  # type: ignore[misc]
    eventually(lambda: len(names(stage)) == 2)
    place(stage, 3, "resting")
    with listening(stage) as snapshots:
        start = next(snapshots)["at"]
        assert next(each for each in snapshots if each["at"] - start > 2)["open"] == 3


def names(server: Server) -> set[str]:
    return {each["worker"] for each in snapshot(server)["workers"]}


@pytest.mark.long
def test_a_service_that_is_stopped_while_consumers_are_paused_settles_all(
    server: Server,
) -> None:
    server.orderly.environment["CHAOS"] = "1"
    server.start()
    server.client.post("/chaos/pause")
    place(server, 20, "left")
    assert server.stop().code == 0
    assert server.orderly.left_open() == 0
    server.orderly.assert_serial()


@pytest.mark.long
def test_workers_without_leave_do_not_obey(scaled: Scaled, scaled_server: Server) -> None:
    scaled.pay(1)
    scaled.environment["CHAOS"] = "1"
    scaled_server.start()
    (worker,) = eventually(lambda: snapshot(scaled_server)["workers"])
    assert scaled_server.client.post("/chaos/kill", json={}).status_code == 202
    assert scaled_server.client.post("/chaos/pause").status_code == 200
    place(scaled_server, 3, "unmoved")
    scaled_server.settle()
    assert names(scaled_server) == {worker["worker"]}
    scaled_server.client.post("/chaos/resume")
    assert scaled_server.stop().code == 0


def test_breaking_things_needs_the_token(tmp_path: Path, server: Server) -> None:
    del tmp_path
    server.orderly.environment |= {"CHAOS": "1", "API_TOKEN": TOKEN}
    server.start()
    for path in (*ROUTES, "/generator", "/dead/retry"):
        problem_of(server.client.post(path, json={}), 401, "unauthorized")
    problem_of(server.client.delete("/generator"), 401, "unauthorized")
    assert server.client.post("/chaos/pause", headers=BEARER).status_code == 200
    assert server.client.post("/dead/retry", headers=BEARER).json() == {"retried": 0, "in_doubt": 0}
