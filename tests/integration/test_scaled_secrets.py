"""Servers that ask for a password, refuse it, or are not there: said in one line, without it."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

import psycopg
import pytest

from tests.support.eventually import eventually
from tests.support.gateways import hold
from tests.support.inputs import order
from tests.support.orderly import Orderly, assert_one_line, finish, processes_of, workers_of
from tests.support.scaled import Scaled
from tests.support.server import Server
from tests.support.servers.daemon import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.conftest import NewRedis
    from tests.support.servers.postgres_server import PostgresServer

WORD = 'geheim "word"\\ /@:%'
FIVE = ("--orders", "5", "--seed", "2")


@pytest.fixture
def locked(tmp_path: Path, own_postgres: PostgresServer, new_redis: NewRedis) -> Iterator[Scaled]:
    """Redis mode on servers that ask for passwords, which are in files."""
    queue = new_redis(password=WORD)
    (tmp_path / "redis-password").write_text(f"{WORD}\n")
    (tmp_path / "ledger-password").write_text(f"{own_postgres.password}\n")
    database = own_postgres.over_tcp(own_postgres.new_database(), password=False)
    url = f"redis://127.0.0.1:{queue.port}/0"
    # Anew, since it is looked at what a list of processes shows of it.
    scaled = Scaled(tmp_path, anew=True, ledger_url=database, redis_url=url)
    scaled.environment |= {
        "REDIS_PASSWORD_FILE": "redis-password",
        "LEDGER_PASSWORD_FILE": "ledger-password",
    }
    yield scaled
    scaled.close()


def arguments_of(group: int) -> str:
    """What a list of processes shows of a group's."""
    found = ""
    for pid in processes_of(group):
        with contextlib.suppress(OSError):
            found += Path(f"/proc/{pid}/cmdline").read_text()
    return found


@pytest.mark.long
def test_a_password_from_a_file_opens_the_server_and_shows_nowhere(
    locked: Scaled, own_postgres: PostgresServer
) -> None:
    go = hold(locked)
    running = locked.start("run", *FIVE, "--workers", "1", "--json")
    eventually(lambda: workers_of(running.pid), within=30, what="a worker")
    listed = arguments_of(running.pid)
    assert "run" in listed
    go.touch()
    ran = finish(running)
    assert ran.code == 0, ran
    config, status = locked("config"), locked("status")
    masked = locked.ledger_url.replace("@", ":***@")
    assert f"{masked} (redis mode)" in status.out
    assert masked in config.out
    assert "redis://:***@127.0.0.1:" in config.out
    said = listed + "".join(each.out + each.err for each in (ran, config, status))
    for word in (WORD, quote(WORD, safe=""), "geheim", own_postgres.password):
        assert word not in said


@pytest.mark.long
def test_a_password_that_is_wrong_or_missing_is_told_in_one_line(locked: Scaled) -> None:
    (locked.folder / "wrong").write_text("falsch")
    (locked.folder / "empty").touch()
    queue, ledger = "REDIS_PASSWORD_FILE", "LEDGER_PASSWORD_FILE"
    seen = "refuses the user or the password; see to "
    cases = [
        (("run", *FIVE), {queue: "wrong"}, 3, f"queue redis://:***@.*{seen}REDIS_URL and {queue}"),
        (("pay",), {queue: ""}, 3, f"queue redis://127.*{seen}REDIS_URL and {queue}"),
        (("status",), {ledger: "wrong"}, 3, f"ledger postgresql://.*{seen}LEDGER_URL and {ledger}"),
        (("status",), {ledger: ""}, 3, f"ledger postgresql://.*{seen}LEDGER_URL and {ledger}"),
        (
            ("migrate",),
            {"LEDGER_URL": f"{locked.ledger_url}-not"},
            3,
            "ledger postgresql://.*-not has no such database; create it",
        ),
        (("status",), {queue: "empty"}, 2, f"{queue}='empty' is empty"),
        (("serve",), {ledger: "nowhere"}, 2, f"{ledger}='nowhere' cannot be read: No such file"),
    ]
    started = []
    for command, environment, _, _ in cases:
        other = Orderly(locked.folder, locked.environment | environment, started=locked.started)
        started.append(other.start(*command))
    for process, (_, _, code, words) in zip(started, cases, strict=True):
        result = finish(process)
        assert_one_line(result, code, *words.split(".*"))
        assert "falsch" not in result.err


@pytest.mark.long
def test_a_changed_password_of_the_ledger_needs_no_restart(
    locked: Scaled, own_postgres: PostgresServer
) -> None:
    """Neither of those who take orders in, nor of the workers."""
    secret = locked.folder / "ledger-password"
    owner = own_postgres.new_database()
    clerk = locked.ledger_url.replace("postgres@", "clerk@")
    locked.environment["LEDGER_URL"] = clerk
    locked.ledger_url = locked.ledger_url.replace("postgres@", f"postgres:{own_postgres.password}@")

    def change(password: str) -> None:
        with psycopg.connect(owner, autocommit=True) as connection:
            connection.execute(f"ALTER ROLE clerk PASSWORD '{password}'".encode())
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'clerk'"
            )

    with psycopg.connect(locked.ledger_url) as connection:
        connection.execute("CREATE ROLE clerk LOGIN PASSWORD 'secret-1'")
        connection.execute("GRANT ALL ON SCHEMA public TO clerk")
    secret.write_text("secret-1\n")
    paying = locked.pay(workers=1)
    with contextlib.closing(Server(locked)) as server:
        server.start("--workers", "0")
        assert server.place(order("before")).status_code == 202
        locked.until_settled(1)
        change("secret-2")
        refused = server.place(order("between"))
        assert refused.status_code == 503
        secret.write_text("secret-2\n")
        eventually(lambda: server.place(order("after")).status_code == 202, within=30)
        locked.until_settled(2)
        assert server.stop().code == 0
    said = locked.stop(paying)
    assert "worker replaced" not in said
    assert "secret-2" not in said
    locked.assert_serial()


@pytest.mark.long
def test_a_server_that_is_not_there_is_tried_for_a_while_and_told(orderly: Orderly) -> None:
    """All that can miss one, at once, since each tries for 15 seconds."""
    port = free_port()
    lost_queue = {"QUEUE_MODE": "redis", "REDIS_URL": f"redis://:geheim@127.0.0.1:{port}/0"}
    lost_ledger = {"LEDGER_URL": f"postgresql://clerk:geheim@127.0.0.1:{port}/orders"}
    no_queue = f"orderly: queue redis://:***@127.0.0.1:{port}/0 cannot be reached; see whether"
    no_ledger = f"ledger postgresql://clerk:***@127.0.0.1:{port}/orders cannot be reached; see"
    cases = [
        (("run", *FIVE, "--workers", "1"), lost_queue, no_queue),
        (("pay", "--workers", "1"), lost_queue, no_queue),
        (("serve", "--port", "0"), lost_queue, no_queue),
        (("run", *FIVE), lost_ledger, no_ledger),
        (("status",), lost_ledger, no_ledger),
    ]
    started = [
        Orderly(orderly.folder, environment, started=orderly.started).start(*command)
        for command, environment, _ in cases
    ]
    for process, (command, _, words) in zip(started, cases, strict=True):
        result = finish(process)
        assert (result.code, result.out) == (3, ""), (command, result)
        *before, told = result.err.splitlines()
        assert words in told
        assert "geheim" not in result.err
        assert "Traceback" not in result.err
        # A service says where it serves, a run how it gets on, and the log that Redis is away.
        assert all(line.startswith(("{", "orderly: ", "running: ")) for line in before)
    assert orderly.json("status")["open"] == 5
