"""The course: its list, how it is called, what all lessons keep to, also when interrupted."""

from __future__ import annotations

import ast
import re
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from services.cli.lesson import CHAPTERS, LESSONS
from tests.support.lessons import WITHIN, strike
from tests.support.orderly import ROOT

if TYPE_CHECKING:
    from tests.support.orderly import Orderly

# What a lesson has said when it is struck in the middle; of the others, that is the second line.
MIDDLE = {
    "process-two-ways": "Second way",
    "who-am-i": "I finish the payment",
    "endings": "waiting for orders",
    "main-guard": "with fork",
    "sync-async": "Asynchronous",
    "states": "two busy",
    "zombie": "1. waitpid",
    "orphan": "my parent is",
    "daemon": "the report",
    "queue-basics": "empty() says False",
    "pipe": "leaves it open",
    "v1-hang": "Now join()",
    "v2-sentinel": "Then:",
    "v3-joinable": "paid A-1",
    "v4-killed": "kill -9",
    "pipe-orders": "Then:",
    "tcp-server": "Then:",
    "backend-calls": "3. an event loop",
}
QUICK = {"scheduling", "separate-memory", "popen-pipe", "orphan", "program-or-process"}


def source(name: str) -> str:
    return (ROOT / "lessons" / f"{name.replace('-', '_')}.py").read_text(encoding="utf-8")


def test_the_list_has_every_lesson_with_a_line_that_fits(orderly: Orderly) -> None:
    result = orderly("lesson")
    assert (result.code, result.err) == (0, "")
    lines = result.out.splitlines()
    assert [line for line in lines if line in CHAPTERS] == list(CHAPTERS)
    listed = dict(line.split(None, 1) for line in lines if line.startswith("  "))
    assert tuple(listed) == LESSONS
    assert all(summary.endswith((".", "?")) for summary in listed.values())
    assert max(map(len, lines)) <= 100


def test_every_file_is_a_lesson_of_the_list() -> None:
    files = {path.stem for path in (ROOT / "lessons").glob("*.py")}
    assert files - {"__init__", "stage", "watching"} == {name.replace("-", "_") for name in LESSONS}


@pytest.mark.parametrize(
    ("name", "remedy"),
    [
        ("v2", "did you mean v2-sentinel?"),
        ("v1_hangs", "did you mean v1-hang?"),
        ("zombies", "did you mean zombie?"),
        ("quantum", "orderly lesson lists them"),
    ],
)
def test_an_unknown_name_is_one_line_with_the_remedy(
    orderly: Orderly, name: str, remedy: str
) -> None:
    result = orderly("lesson", name)
    assert (result.code, result.out) == (2, "")
    assert result.err == f"orderly: no lesson {name!r}; {remedy}\n"


def test_arguments_that_a_lesson_does_not_take_are_refused(orderly: Orderly) -> None:
    for arguments in (("v1-hang", "more"), ("scheduling", "--quantum", "0"), ("pipe", "--help")):
        result = orderly("lesson", *arguments)
        assert (result.code, result.out) == (2, "")
        assert result.err


def test_a_lesson_is_not_taken_from_the_current_folder(orderly: Orderly) -> None:
    (orderly.folder / "lessons").mkdir()
    (orderly.folder / "lessons" / "__init__.py").touch()
    (orderly.folder / "lessons" / "scheduling.py").write_text("print('somebody else')")
    assert "Whose turn" in orderly("lesson", "scheduling", "--help").out


@pytest.mark.parametrize("how", [["-m", "lessons.orphan"], ["lessons/orphan.py"]])
def test_a_lesson_runs_without_the_command(how: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, *how], cwd=ROOT, capture_output=True, text=True, timeout=WITHIN, check=True
    )
    assert "In Orderly" in done.stdout


@pytest.mark.long
def test_a_reader_who_leaves_ends_no_lesson_with_a_traceback(orderly: Orderly) -> None:
    running = orderly.start("lesson", "pipe-orders")
    assert running.stdout is not None
    running.stdout.readline()
    running.stdout.close()
    assert running.wait(timeout=WITHIN) == 0
    assert running.stderr is not None
    assert running.stderr.read() == ""


@pytest.mark.parametrize("name", LESSONS)
def test_a_lesson_closes_with_places_that_exist(name: str) -> None:
    calls = [
        node
        for node in ast.walk(ast.parse(source(name)))
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "close"
    ]
    (closing,) = calls
    saw, why, here = map(ast.literal_eval, closing.args)
    assert saw
    assert why
    places = re.findall(r"\b(?:shared|services)/[\w/.]*\w", here)
    assert places
    assert all((ROOT / place).is_file() for place in places), places


@pytest.mark.long
@pytest.mark.parametrize("name", LESSONS)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_lesson_leaves_nobody_behind(
    orderly: Orderly, name: str, number: signal.Signals
) -> None:
    code = strike(orderly, name, number, after=MIDDLE.get(name, " s "))
    assert code == 128 + number or (name in QUICK and code == 0)


@pytest.mark.parametrize("name", ["v1-hang", "v2-sentinel", "v4-killed", "pipe", "daemon"])
def test_even_a_killed_lesson_leaves_nobody_behind(orderly: Orderly, name: str) -> None:
    assert strike(orderly, name, signal.SIGKILL, after=MIDDLE[name]) == -signal.SIGKILL
