"""``orderly lesson``: list the course, or become one of its programs. It imports none of them."""

from __future__ import annotations

import ast
import difflib
import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from services.cli.common import handling_errors
from shared.errors import UsageError

FOLDER = Path(__file__).parents[2] / "lessons"

CHAPTERS = {
    "processes": (
        "program-or-process",
        "process-two-ways",
        "who-am-i",
        "separate-memory",
        "endings",
        "main-guard",
    ),
    "scheduling": ("scheduling",),
    "words": ("sync-async", "blocking-nonblocking", "concurrent-parallel", "states"),
    "zombies and orphans": ("zombie", "orphan"),
    "daemons": ("daemon",),
    "communication": (
        "queue-basics",
        "queue-main-child",
        "queue-child-child",
        "pipe",
        "popen-pipe",
    ),
    "producer and consumer": (
        "v1-hang",
        "v2-sentinel",
        "v3-joinable",
        "v4-killed",
        "pipe-orders",
    ),
    "network": ("tcp-server", "backend-calls"),
}
LESSONS = tuple(name for names in CHAPTERS.values() for name in names)


@handling_errors
def lesson(
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="Which lesson.")] = None,
    arguments: Annotated[
        list[str] | None, typer.Argument(metavar="ARGS", help="Handed on to the lesson.")
    ] = None,
) -> None:
    """List the lessons of the course, or run one."""
    if name is None:
        _list()
    else:
        _become(name, arguments or [])


def _list() -> None:
    for chapter, names in CHAPTERS.items():
        print(chapter)
        for name in names:
            print(f"  {name:<21} {_summary(name)}")
    print("\norderly lesson NAME runs one; see also docs/lessons.md")


def _summary(name: str) -> str:
    """Read the first line that a lesson says of itself."""
    source = (FOLDER / f"{_module(name)}.py").read_text(encoding="utf-8")
    return (ast.get_docstring(ast.parse(source)) or "").partition("\n")[0]


def _become(name: str, arguments: list[str]) -> None:
    """Turn this process into the lesson, so that signals and exit codes are the lesson's own."""
    if name not in LESSONS:
        raise UsageError(f"no lesson {name!r}; {_remedy(name.replace('_', '-'))}")
    # By name, as a program of a package: spawned children import it again by that name. Not from
    # the current folder, which may have lessons of its own (-P).
    path = os.pathsep.join(filter(None, [str(FOLDER.parent), os.environ.get("PYTHONPATH")]))
    command = [sys.executable, "-P", "-m", f"lessons.{_module(name)}", *arguments]
    sys.stdout.flush()
    os.execve(sys.executable, command, os.environ | {"PYTHONPATH": path})  # noqa: S606  no shell


def _remedy(name: str) -> str:
    likely = [each for each in LESSONS if name and each.startswith(name)]
    likely = likely or difflib.get_close_matches(name, LESSONS, n=1, cutoff=0.4)
    return f"did you mean {likely[0]}?" if likely else "orderly lesson lists them"


def _module(name: str) -> str:
    return name.replace("-", "_")
