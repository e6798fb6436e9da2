"""A disk that fills up: told in one line, and nothing that was accepted is lost."""

from __future__ import annotations

import resource
import subprocess
from typing import Any

import pytest

from tests.support.eventually import eventually
from tests.support.orderly import Orderly, Result, finish, workers_of


class Disk:
    """Takes the room to write away from processes, and gives it back."""

    def __init__(self) -> None:
        self._before: dict[int, tuple[int, int]] = {}

    def fill(self, *pids: int) -> None:
        for pid in pids:
            soft, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
            self._before[pid] = soft, hard
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (4096, hard))

    def make_room(self, *pids: int) -> None:
        for pid in pids:
            resource.prlimit(pid, resource.RLIMIT_FSIZE, self._before[pid])


class Stream:
    """A run that takes generated orders from a pipe, as many at a time as a test wants."""

    def __init__(self, orderly: Orderly) -> None:
        self._orderly = orderly
        self._lines = orderly("generate", "1500", "--seed", "5").out.splitlines(keepends=True)
        self.process = orderly.start("run", "-", "--json", stdin=subprocess.PIPE)

    def send(self, start: int, stop: int) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write("".join(self._lines[start:stop]))
        self.process.stdin.flush()

    @property
    def accepted(self) -> int:
        """How many orders the ledger has accepted."""
        return self._count("SELECT sum(number) FROM heads")

    @property
    def settled(self) -> int:
        """How many of them are settled."""
        return self._count("SELECT sum(number - pending) FROM cursors")

    def end_input(self) -> Result:
        return finish(self.process)

    def run_whole(self) -> dict[str, Any]:
        """Run the same input in one go."""
        path = self._orderly.folder / "whole.jsonl"
        path.write_text("".join(self._lines))
        report: dict[str, Any] = self._orderly.json("run", path)
        return report

    def _count(self, statement: str) -> int:
        found = self._orderly.query(statement)
        return found[0][0] or 0 if found else 0  # nothing while the ledger is being made


@pytest.mark.long
def test_a_disk_that_fills_up_ends_the_run_in_one_line_and_loses_nothing(orderly: Orderly) -> None:
    stream, disk = Stream(orderly), Disk()
    stream.send(0, 400)
    eventually(lambda: stream.settled == 400, within=30)
    workers = workers_of(stream.process.pid)
    disk.fill(*workers)
    stream.send(400, 800)  # accepted, but no worker can write what became of it
    eventually(lambda: stream.accepted == 800, within=30)
    disk.fill(stream.process.pid)
    stream.send(800, 1200)
    result = stream.end_input()
    assert result.code == 3
    assert result.out == ""
    assert "Traceback" not in result.err
    told = [line for line in result.err.splitlines() if line.startswith("orderly: ")]
    assert len(told) == 1
    assert told[0].startswith("orderly: ledger sqlite:///var/orderly.db cannot be written")
    assert "run again, what was accepted is kept" in told[0]
    assert (stream.accepted, stream.settled) == (800, 400)

    report = orderly.json("run")
    assert (report["received"], report["recovered"], report["verified"]) == (0, 400, True)
    report = stream.run_whole()
    assert (report["created"], report["duplicates"]) == (700, 800)
    orderly.assert_serial()


@pytest.mark.long
def test_workers_that_cannot_write_try_again_until_there_is_room(orderly: Orderly) -> None:
    stream, disk = Stream(orderly), Disk()
    stream.send(0, 400)
    eventually(lambda: stream.settled == 400, within=30)
    workers = workers_of(stream.process.pid)
    disk.fill(*workers)
    stream.send(400, 1500)
    eventually(lambda: stream.accepted == 1500, within=30)
    assert stream.settled == 400
    disk.make_room(*workers)
    result = stream.end_input()
    assert result.code == 0, result
    assert "Traceback" not in result.err
    assert (result.json["created"], result.json["verified"]) == (1500, True)
    orderly.assert_serial()


@pytest.mark.long
def test_a_full_disk_for_rejected_orders_is_told_and_what_was_accepted_is_kept(
    orderly: Orderly,
) -> None:
    good = orderly("generate", "30", "--seed", "4").out
    (orderly.folder / "orders.jsonl").write_text(good + "{}\n" * 2000)
    result = orderly("run", "orders.jsonl", "--rejects", "/dev/full", "--json")
    assert result.code == 3
    (told,) = [line for line in result.err.splitlines() if "cannot be written" in line]
    assert told.startswith("orderly: rejected orders cannot be written to /dev/full: No space left")
    assert "what was accepted is kept: run again with --rejects and another file" in told
    assert "Traceback" not in result.err
    assert result.json["created"] == result.json["paid"] == 30
    assert orderly.json("verify")["created"] == 30
