"""A ledger that is not there, not ours, locked or on a full disk: one line, and nothing is lost."""

from __future__ import annotations

import resource
import shutil
import sqlite3
import subprocess
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest

from tests.eventually import eventually
from tests.orderly import Orderly, Result, workers_of
from tests.permissions import as_a_plain_user

if TYPE_CHECKING:
    from pathlib import Path


def finish(process: subprocess.Popen[str]) -> Result:
    out, err = process.communicate(timeout=90)
    return Result(process.returncode, out, err)


def assert_one_line(result: Result, code: int, *words: str) -> None:
    assert result.code == code, result
    assert "Traceback" not in result.err
    assert result.out == ""
    # What a run tells of its progress comes every few seconds.
    (line,) = [line for line in result.err.splitlines() if not line.startswith("running: ")]
    assert line.startswith("orderly: ")
    for word in words:
        assert word in line


def query(ledger: Path, statement: str) -> Any:
    with closing(sqlite3.connect(ledger, timeout=30)) as connection:
        return connection.execute(statement).fetchone()[0]


def change(ledger: Path, *statements: str) -> None:
    with closing(sqlite3.connect(ledger)) as connection:
        for statement in statements:
            connection.execute(statement)
        connection.commit()


ONE_WORKER = {"PAYMENT_WORKERS": "1"}
FIVE = ("--orders", "5", "--seed", "2")
COMMANDS = (
    ("status",),
    ("verify",),
    ("explain", "o1"),
    ("journal",),
    ("dead", "list"),
    ("dead", "retry", "--all"),
)


def test_what_reads_a_ledger_says_that_there_is_none_and_makes_none(orderly: Orderly) -> None:
    for process in [orderly.start(*command) for command in COMMANDS]:
        assert_one_line(finish(process), 3, "sqlite:///var/orderly.db: there is none yet; orderly")
    assert not orderly.ledger.exists()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"Dear diary, this is a text file and no database.\n", "is no SQLite database"),
        ("CREATE TABLE diary (day)", "holds other tables"),
        ("CREATE TABLE ledger (day)", "holds other tables"),
        ("CREATE TABLE ledger (schema_version)", "holds other tables"),
    ],
)
def test_a_file_that_is_no_ledger_is_refused_and_left_as_it_is(
    tmp_path: Path, content: bytes | str, words: str
) -> None:
    path = tmp_path / "diary.db"
    if isinstance(content, str):
        change(path, content, "PRAGMA journal_mode = WAL")
    else:
        path.write_bytes(content)
    before = path.read_bytes()
    orderly = Orderly(tmp_path, {"LEDGER_URL": "sqlite:///diary.db"})
    for process in orderly.start("status"), orderly.start("run", *FIVE, "--fresh"):
        assert_one_line(finish(process), 3, "sqlite:///diary.db", words, "another", "LEDGER_URL")
    assert path.read_bytes() == before
    assert [each.name for each in tmp_path.glob("diary*.db")] == ["diary.db"]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a ledger of a hundred orders; use a copy."""
    folder = tmp_path_factory.mktemp("made")
    assert Orderly(folder, ONE_WORKER)("run", "--orders", "100", "--seed", "1").code == 0
    return folder


@pytest.fixture
def filled(made: Path, tmp_path: Path) -> Orderly:
    """The command, with a ledger of a hundred orders of its own."""
    shutil.copytree(made / "var", tmp_path / "var")
    return Orderly(tmp_path, ONE_WORKER)


def test_a_ledger_of_another_version_is_refused_by_both_numbers(filled: Orderly) -> None:
    change(filled.ledger, "UPDATE ledger SET schema_version = schema_version + 90")
    for command in ("status", "run"):
        assert_one_line(filled(command), 3, "schema version 93", "this program needs", "LEDGER_URL")
    change(filled.ledger, "UPDATE ledger SET schema_version = schema_version - 90")
    assert filled.json("verify")["ok"]


def test_a_ledger_of_another_version_can_be_set_aside(filled: Orderly) -> None:
    change(
        filled.ledger,
        "UPDATE ledger SET schema_version = 99",
        "ALTER TABLE ledger DROP COLUMN opening_balance",
    )
    report = filled.json("run", *FIVE, "--fresh")
    assert (report["created"], report["verified"]) == (5, True)
    (aside,) = filled.ledger.parent.glob("orderly-*.db")
    assert query(aside, "SELECT schema_version FROM ledger") == 99


def test_a_damaged_ledger_is_told_in_one_line(filled: Orderly) -> None:
    change(filled.ledger, "DROP TABLE heads")
    for command in ("status", "run"):
        assert_one_line(filled(command), 3, "is damaged", "restore a copy")


@pytest.mark.parametrize(
    ("name", "value", "made_with", "command"),
    [("PARTITIONS", "8", "16", "run"), ("OPENING_BALANCE", "5", "100000", "status")],
)
def test_a_setting_that_is_fixed_with_the_ledger_cannot_change_under_it(
    filled: Orderly, name: str, value: str, made_with: str, command: str
) -> None:
    result = Orderly(filled.folder, {name: value})(command)
    assert_one_line(result, 2, f"{name}={value}", f"made with {made_with}", "leave the setting")
    assert Orderly(filled.folder, {name: made_with}).json("status")["created"] == 100


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    orderly = Orderly(tmp_path, {"LEDGER_URL": "sqlite:///file/orderly.db"})
    result = orderly("run", *FIVE)
    assert_one_line(result, 3, "sqlite:///file/orderly.db", "cannot make the folder", "file")


def test_a_ledger_that_is_a_folder_is_refused(tmp_path: Path) -> None:
    orderly = Orderly(tmp_path, {"LEDGER_URL": f"sqlite:///{tmp_path}"})
    assert_one_line(orderly("run", *FIVE), 3, "cannot be opened", "folder")


def test_a_folder_without_permission_is_named(filled: Orderly) -> None:
    filled.ledger.parent.chmod(0o500)
    filled.ledger.chmod(0o400)
    known = finish(filled.start("run", *FIVE, preexec_fn=as_a_plain_user))
    new = Orderly(filled.folder, {"LEDGER_URL": "sqlite:///var/new.db"})
    unknown = finish(new.start("run", *FIVE, preexec_fn=as_a_plain_user))
    filled.ledger.parent.chmod(0o700)
    assert_one_line(known, 3, "sqlite:///var/orderly.db may not be written; check its permissions")
    assert_one_line(unknown, 3, "sqlite:///var/new.db cannot be opened; check that its folder")


def test_fresh_leaves_the_ledger_where_it_is_if_an_input_is_missing(filled: Orderly) -> None:
    before = filled.ledger.stat().st_ino
    result = filled("run", "missing.csv", "--fresh")
    assert_one_line(result, 2, "missing.csv: cannot be opened")
    assert filled.ledger.stat().st_ino == before
    assert [each.name for each in filled.ledger.parent.glob("*.db")] == ["orderly.db"]
    assert filled.json("verify")["created"] == 100


def test_fresh_sets_the_ledger_aside_and_says_where_to(filled: Orderly) -> None:
    result = filled("run", *FIVE, "--fresh")
    assert result.code == 0, result
    (aside,) = filled.ledger.parent.glob("orderly-*.db")
    assert f"the ledger that was there is now var/{aside.name}" in result.out
    assert filled.json("verify")["created"] == 5
    assert filled.json("verify", LEDGER_URL=f"sqlite:///{aside}")["created"] == 100


def test_fresh_is_refused_while_another_process_holds_the_ledger(filled: Orderly) -> None:
    holder = filled.start("run", "-", "--json", stdin=subprocess.PIPE)
    eventually(lambda: workers_of(holder.pid), what="the run to be under way", within=30)
    before = filled.ledger.stat().st_ino
    result = filled("run", *FIVE, "--fresh")
    assert_one_line(result, 3, "is in use by another process", "let that end")
    assert filled.ledger.stat().st_ino == before
    assert holder.stdin is not None
    holder.stdin.write(filled("generate", "20", "--seed", "3").out)
    ended = finish(holder)
    assert ended.code == 0, ended
    assert ended.json["created"] == 20
    assert filled.json("verify")["created"] == 120


def test_a_locked_ledger_is_tried_for_a_while_and_then_told(filled: Orderly) -> None:
    (filled.folder / "new").mkdir()
    new = Orderly(filled.folder, {"LEDGER_URL": "sqlite:///new/orderly.db"})
    arguments = ("run", *FIVE)
    with (
        closing(sqlite3.connect(filled.ledger, isolation_level=None)) as lock,
        closing(sqlite3.connect(new.folder / "new" / "orderly.db", isolation_level=None)) as other,
    ):
        lock.execute("BEGIN EXCLUSIVE")
        other.execute("BEGIN EXCLUSIVE")
        running = [filled.start(*arguments), new.start(*arguments)]
        assert filled.json("status")["created"] == 100  # who reads need not wait
        results = [finish(process) for process in running]
    assert_one_line(results[0], 3, "sqlite:///var/orderly.db is locked", "close that")
    assert_one_line(results[1], 3, "sqlite:///new/orderly.db is locked", "close that")
    assert filled.json("verify")["created"] == 100
    assert filled.json(*arguments)["created"] == 5


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
        return self._count("SELECT sum(number) FROM cursors")

    def end_input(self) -> Result:
        return finish(self.process)

    def run_whole(self) -> dict[str, Any]:
        """Run the same input in one go."""
        path = self._orderly.folder / "whole.jsonl"
        path.write_text("".join(self._lines))
        report: dict[str, Any] = self._orderly.json("run", path)
        return report

    def _count(self, statement: str) -> int:
        try:
            return int(query(self._orderly.ledger, statement))
        except (sqlite3.OperationalError, TypeError):
            return 0  # the ledger is being made


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
