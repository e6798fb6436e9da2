"""A ledger that is not there, not ours, or locked: one line, and nothing is lost."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.eventually import eventually
from tests.support.orderly import Orderly, assert_one_line, finish, workers_of
from tests.support.permissions import as_a_plain_user

if TYPE_CHECKING:
    from pathlib import Path


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
        assert_one_line(filled(command), 3, "schema version 95", "this program needs", "LEDGER_URL")
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


@pytest.mark.long
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


@pytest.mark.long
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
