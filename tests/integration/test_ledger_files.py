"""The ledger a process has opened is the one it uses: nothing else in its place is written."""

from __future__ import annotations

import os
import signal
import subprocess
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from tests.support.eventually import eventually
from tests.support.inputs import line, order
from tests.support.orderly import Orderly, finish
from tests.support.server import Server, lines, problem_of

if TYPE_CHECKING:
    from tests.support.scaled import Scaled
    from tests.support.servers.postgres_server import PostgresServer


@pytest.mark.long
def test_a_process_that_slept_while_its_ledger_was_set_aside_writes_nothing_into_the_next(
    on_own_postgres: Scaled, own_postgres: PostgresServer
) -> None:
    scaled = on_own_postgres
    with closing(Server(scaled)) as server:
        server.start("--workers", "1")
        assert server.place(order("old-1")).status_code == 202
        server.settle()
        sleeping = [server.pid, *server.workers]
        for pid in sleeping:
            server.send_to(pid, signal.SIGSTOP)
        own_postgres.restart()  # so that it has no connection by which it could be seen
        report = scaled.json("run", "--orders", "50", "--seed", "1", "--fresh", "--yes")
        assert (report["created"], report["verified"]) == (50, True)
        for pid in sleeping:
            server.send_to(pid, signal.SIGCONT)
        document = problem_of(server.place(order("old-2")), 503, "ledger-unavailable")
        assert "set aside" in document["detail"]
        assert {answer["code"] for answer in server.bulk(lines([order("old-3")]))} == {503}
        eventually(lambda: server.client.get("/readyz").status_code == 503)
        assert scaled.totals()["created"] == 50
        assert scaled.count("SELECT count(*) FROM workers") == 0
        server.close()
    assert len(scaled.assert_serial().status) == 50


@pytest.mark.long
@pytest.mark.parametrize("successor", ["none", "another ledger", "a copy"])
def test_a_file_that_was_taken_away_is_noticed_and_not_served(
    server: Server, successor: str
) -> None:
    orderly = server.orderly
    server.start()
    assert server.place(order("a-1")).status_code == 202
    server.settle()
    apart = orderly.folder / "apart"
    apart.mkdir()
    whole = orderly.ledger.read_bytes()
    for path in orderly.folder.glob("var/orderly.db*"):
        path.rename(apart / path.name)
    if successor == "another ledger":
        assert orderly.json("run", "--orders", "5", "--seed", "1")["created"] == 5
    elif successor == "a copy":
        orderly.ledger.write_bytes(whole)
    document = problem_of(server.place(order("a-2")), 503, "ledger-unavailable")
    assert "deleted or replaced" in document["detail"]
    problem_of(server.client.get("/orders/a-1"), 503, "ledger-unavailable")
    eventually(lambda: server.client.get("/readyz").status_code == 503)
    if successor == "another ledger":
        assert orderly.totals()["created"] == 5
    for path in orderly.folder.glob("var/orderly.db*"):
        path.unlink()
    for path in apart.iterdir():
        path.rename(orderly.ledger.parent / path.name)
    eventually(lambda: server.client.get("/readyz").status_code == 200)
    assert server.place(order("a-2")).status_code == 202
    server.settle()
    assert server.stop().code == 0
    assert orderly.final_state().status == {"a-1": "paid", "a-2": "paid"}


def test_what_customers_order_is_for_the_owner_of_the_ledger_alone(orderly: Orderly) -> None:
    running = orderly.start("run", "-", stdin=subprocess.PIPE, umask=0)
    assert running.stdin is not None
    running.stdin.write(line("a-1"))
    running.stdin.flush()
    eventually(lambda: orderly.settled() == 1, within=30)
    files = list(orderly.ledger.parent.glob("orderly.db*"))
    assert len(files) == 4  # with its log, its index and its lock
    assert {path.stat().st_mode & 0o777 for path in files} == {0o600}
    assert finish(running).code == 0


@pytest.mark.long
@pytest.mark.parametrize(
    ("name", "what"),
    [("orderly.db-wal", "the log beside its file"), ("orderly.db-shm", "the index of its log")],
)
def test_a_log_that_was_taken_away_takes_no_acknowledged_order_along(
    server: Server, name: str, what: str
) -> None:
    server.start()
    assert server.place(order("a-1")).status_code == 202
    server.settle()
    server.ledger.with_name(name).unlink()
    # What is written now may be lost: so nobody hears that it was accepted.
    document = problem_of(server.place(order("a-2")), 503, "ledger-unavailable")
    assert f"{what} was deleted or replaced" in document["detail"]
    eventually(lambda: server.client.get("/readyz").status_code == 503)
    server.stop()
    assert server.orderly.json("run")["verified"] is True
    assert server.orderly.final_state().status == {"a-1": "paid"}


def test_a_log_that_another_program_has_begun_anew_is_not_written(server: Server) -> None:
    server.start()
    assert server.place(order("a-1")).status_code == 202
    server.settle()
    log = server.ledger.with_name("orderly.db-wal")
    log.unlink()
    log.touch()
    problem_of(server.place(order("a-2")), 503, "ledger-unavailable")


def test_a_file_that_was_emptied_in_place_is_not_served(server: Server) -> None:
    server.start()
    assert server.place(order("a-1")).status_code == 202
    server.settle()
    os.truncate(server.ledger, 0)
    problem_of(server.place(order("a-2")), 503, "ledger-unavailable")
    eventually(lambda: server.client.get("/readyz").status_code == 503)


@pytest.mark.long
@pytest.mark.parametrize("taken", ["orderly.db-shm", "orderly.db"])
def test_who_lost_its_ledger_takes_no_order_of_its_successor_along(
    server: Server, orderly: Orderly, taken: str
) -> None:
    server.start()
    assert server.place(order("a-1")).status_code == 202
    server.settle()
    for path in orderly.ledger.parent.glob(f"{taken}*"):
        path.rename(orderly.folder / path.name)
    with closing(Server(orderly)) as successor:
        successor.start()
        assert successor.place(order("b-1")).status_code == 202
        successor.settle()
        successor.send(signal.SIGKILL)  # it leaves its log behind
        successor.wait()
        problem_of(server.place(order("a-2")), 503, "ledger-unavailable")
    server.stop()  # it had its ledger open for longest: what it leaves is what stays
    kept = {"b-1": "paid"} if taken == "orderly.db" else {"a-1": "paid", "b-1": "paid"}
    assert orderly.final_state().status == kept
    assert orderly.json("verify")["ok"] is True
