"""Standard error whose reader has gone or stands still, or whose disk is full: nothing else is."""

from __future__ import annotations

import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from tests.support.eventually import eventually
from tests.support.ledgers import order
from tests.support.orderly import COMMAND, kill, workers_of
from tests.support.stack import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.orderly import Orderly


class Unheard:
    """A service whose standard error goes where a test wants."""

    def __init__(self, orderly: Orderly) -> None:
        self.orderly = orderly
        self.port = free_port()
        self.client = httpx.Client(base_url=f"http://127.0.0.1:{self.port}", trust_env=False)
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, stderr: Any, *, before: str = "") -> None:
        words = ["sh", "-c", f'{before} exec "$@"', "sh", *COMMAND]
        self._process = subprocess.Popen(
            [*words, "serve", "--port", str(self.port), "--workers", "1"],
            cwd=self.orderly.folder,
            env=self.orderly._environment() | {"REDRIVE_AFTER": "0.5"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=stderr,
            start_new_session=True,
        )
        eventually(self.answers, within=60, what="it serves")

    @property
    def process(self) -> subprocess.Popen[bytes]:
        assert self._process is not None
        return self._process

    def answers(self) -> bool:
        assert self.process.poll() is None, "it has ended"
        try:
            return self.client.get("/healthz").status_code == 200
        except httpx.TransportError:
            return False

    def pay(self, name: str) -> None:
        """Place an order, and see it paid."""
        assert self.client.post("/orders", json=order(name)).status_code == 202
        eventually(lambda: self._status(name) == "paid", within=60, what=f"{name} is paid")

    def fail(self, times: int) -> None:
        """Have requests fail by a bug, which is logged at length."""
        ledger = sqlite3.connect(self.orderly.ledger, timeout=30, isolation_level=None)
        with closing(ledger):
            ledger.execute("CREATE TABLE kept AS SELECT * FROM heads")
            ledger.execute("UPDATE heads SET number = 'odd'")  # what nobody has thought of
            for number in range(times):
                refused = self.client.post("/orders", json=order(f"odd-{number}"))
                assert refused.status_code == 500
            ledger.execute("DELETE FROM heads")
            ledger.execute("INSERT INTO heads SELECT * FROM kept")
            ledger.execute("DROP TABLE kept")

    def lose_a_worker(self) -> None:
        (lost,) = eventually(lambda: workers_of(self.process.pid), within=60)
        kill(lost)
        eventually(lambda: workers_of(self.process.pid) not in ([], [lost]), within=60)

    def dropped(self) -> float:
        found = re.search(r"^orderly_log_lines_dropped_total (\S+)", self._metrics(), re.MULTILINE)
        assert found is not None
        return float(found[1])

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(60)

    def close(self) -> None:
        self.client.close()
        if self._process is not None and self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()

    def _status(self, name: str) -> str:
        return str(self.client.get(f"/orders/{name}").json()["status"])

    def _metrics(self) -> str:
        return self.client.get("/metrics").text


@pytest.fixture
def unheard(orderly: Orderly) -> Iterator[Unheard]:
    service = Unheard(orderly)
    yield service
    service.close()


@pytest.mark.long
def test_a_reader_that_has_gone_ends_nothing(unheard: Unheard) -> None:
    reader, writer = os.pipe()
    unheard.start(writer)
    os.close(writer)
    os.close(reader)
    unheard.lose_a_worker()  # which is told, and nobody hears it
    unheard.pay("a-1")
    assert unheard.dropped() > 0
    assert unheard.stop() == 0
    assert unheard.orderly.left_open() == 0


@pytest.mark.long
def test_a_reader_that_stands_still_holds_nothing_up_and_hears_later_what_it_missed(
    unheard: Unheard,
) -> None:
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    filling = b"-" * 1023 + b"\n"
    while True:
        try:
            os.write(writer, filling)
        except BlockingIOError:
            break
    os.set_blocking(writer, True)
    unheard.start(writer)
    os.close(writer)
    unheard.fail(1200)  # more than is kept for the reader
    assert unheard.answers()
    unheard.lose_a_worker()
    unheard.pay("a-1")
    assert unheard.dropped() > 0
    with subprocess.Popen(["cat"], stdin=reader, stdout=subprocess.PIPE) as listening:
        os.close(reader)
        assert listening.stdout is not None
        said = iter(listening.stdout.readline, b"")
        told = next(line for line in said if b"log lines dropped" in line)
        assert json.loads(told)["lines"] > 0
        assert unheard.stop() == 0


@pytest.mark.long
def test_a_reader_that_never_reads_again_holds_up_no_end(unheard: Unheard) -> None:
    reader, writer = os.pipe()
    try:
        unheard.start(writer)
        os.close(writer)
        unheard.fail(20)
        unheard.pay("a-1")
        assert unheard.stop() == 0
    finally:
        os.close(reader)


@pytest.mark.long
def test_a_log_on_a_full_disk_costs_the_log_alone(unheard: Unheard) -> None:
    with Path("/dev/full").open("wb") as full:
        unheard.start(full)
    unheard.lose_a_worker()
    unheard.pay("a-1")
    assert unheard.dropped() > 0
    assert unheard.stop() == 0


@pytest.mark.long
def test_without_standard_streams_no_file_takes_their_place(unheard: Unheard) -> None:
    unheard.start(None, before="exec 0<&- 1>&- 2>&-;")
    for number in (0, 1, 2):
        assert Path(f"/proc/{unheard.process.pid}/fd/{number}").readlink() == Path(os.devnull)
    unheard.lose_a_worker()
    unheard.pay("a-1")
    assert unheard.stop() == 0


@pytest.mark.parametrize("words", [["status"], ["run", "--orders", "10"], ["config"]])
def test_what_is_closed_from_the_start_is_no_traceback(orderly: Orderly, words: list[str]) -> None:
    done = subprocess.run(
        ["sh", "-c", 'exec "$@" 2>&-', "sh", sys.executable, "-m", "services", *words],
        cwd=orderly.folder,
        env=orderly._environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == (3 if words == ["status"] else 0)  # there is no ledger
    assert "orderly: " not in done.stdout  # what is said is not printed instead


def test_the_last_words_of_a_run_are_heard(orderly: Orderly) -> None:
    result = orderly("run", "--orders", "10", "nowhere.csv")
    assert result.code == 2
    assert result.err.splitlines()[-1].startswith("orderly: ")
