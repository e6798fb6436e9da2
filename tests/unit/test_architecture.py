"""Imports run downward only, as the picture in CONTRIBUTING has it; read from the source itself."""

from __future__ import annotations

import ast
import re
import sys
from graphlib import CycleError, TopologicalSorter
from typing import TYPE_CHECKING

import pytest

from tests.support.orderly import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

OURS = ("shared", "services", "lessons")

# Whose libraries are slow to load and not for everybody to know, and what belongs to one mode.
USERS = {
    "services.__main__": set[str](),
    "services.cli.app": {"services.__main__"},
    "shared.environment": {"services.cli.common"},
    "services.pipeline.local": {"services.pipeline.select"},
    "services.pipeline.redis": {"services.pipeline.select"},
    "services.worker.rq_worker": {"services.worker.process"},
    "services.worker.rq_job": {"services.worker.rq_worker"},
    "shared.queue.local_queue": {"services.pipeline.local"},
    "shared.queue.redis_queue": {"services.pipeline.redis"},
    "shared.ledger.database.postgres": {"shared.ledger.database.database"},
    "shared.ledger.database.sqlite": {"shared.ledger.database.database"},
}
# The only modules that may import a library, by how their names begin.
LIBRARIES = {
    "redis": ("shared.queue.redis_", "shared.queue.closed_job", "services.worker.rq_"),
    "rq": ("shared.queue.redis_sending", "shared.queue.closed_job", "services.worker.rq_"),
    "psycopg": ("shared.ledger.database.postgres",),
    "typer": ("services.cli.",),
    "rich": ("services.cli.",),
    "fastapi": ("services.http.",),
    "starlette": ("services.http.", "services.bank."),
    "aiohttp": ("services.payment.http_client",),
    "uvicorn": ("services.http.", "services.bank."),
}
KNOW_NO_QUEUE = tuple(f"services.payment.{name}" for name in ("settle", "next_batch", "consumer"))


def modules() -> Iterator[tuple[str, Path]]:
    for package in OURS:
        for path in sorted((ROOT / package).rglob("*.py")):
            yield ".".join(path.relative_to(ROOT).with_suffix("").parts), path


def imports(path: Path, module: str) -> set[str]:
    """Name all that a module imports: at its top, in its functions and for its types."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            package = ".".join(module.split(".")[: -node.level]) if node.level else ""
            origin = ".".join(filter(None, [package, node.module]))
            found |= {origin} | {f"{origin}.{alias.name}" for alias in node.names}
    return found


def within(name: str, package: str) -> bool:
    return name == package or name.startswith(package + ".")


def picture() -> list[list[str]]:
    """The rooms as CONTRIBUTING draws them: the highest first, those on one level together."""
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    drawn = text.split("## Imports run downward", 1)[1].split("```")[1].strip()
    names = [re.split(r"\s{2,}", line)[0] for line in drawn.splitlines()]
    return [[room.replace("/", ".") for room in line.split(", ")] for line in names]


LAYERS = picture()
LEVEL = {room: level for level, rooms in enumerate(LAYERS) for room in rooms}
EDGES = {module.removesuffix(".__init__"): imports(path, module) for module, path in modules()}
# Whoever imports a module of a package means the module, and not what the package says of itself.
ARROWS = {
    module: {
        name
        for name in names & EDGES.keys()
        if not any(within(other, name) for other in (names & EDGES.keys()) - {name})
    }
    for module, names in EDGES.items()
}


def room_of(module: str) -> str:
    """The room that a module is in: the longest name in the picture that it begins with."""
    return max((room for room in LEVEL if within(module, room)), key=len)


def test_every_folder_of_modules_is_in_the_picture() -> None:
    folders = {module.rpartition(".")[0] for module in EDGES if "." in module}
    assert folders == set(LEVEL) - {"services.__main__"}


@pytest.mark.parametrize("room", LEVEL)
def test_imports_run_downward_only(room: str) -> None:
    breaches = [
        f"{module} imports {name}"
        for module, names in ARROWS.items()
        if room_of(module) == room
        for name in names
        if room_of(name) != room and LEVEL[room_of(name)] <= LEVEL[room]
    ]
    assert not breaches


def test_there_is_no_circle_of_imports() -> None:
    try:
        TopologicalSorter(ARROWS).prepare()
    except CycleError as error:
        pytest.fail(" imports ".join(reversed(error.args[1])))


@pytest.mark.parametrize("module", KNOW_NO_QUEUE)
def test_settlement_knows_no_queue(module: str) -> None:
    assert not [name for name in EDGES[module] if within(name, "shared.queue")]


def test_the_bank_is_nobodys_but_its_own() -> None:
    """It stands for somebody else's backend: it shares no code with what it is asked by."""
    known = {
        name
        for module, names in ARROWS.items()
        if within(module, "services.bank")
        for name in names
        if not within(name, "services.bank")
    }
    assert known
    assert not [name for name in known if name.startswith(("shared.ledger", "shared.queue"))]
    assert not [
        name
        for name in known
        if within(name, "services") and not within(name, "services.processes")
    ]


@pytest.mark.parametrize("used", USERS)
def test_what_is_for_few_is_imported_by_no_others(used: str) -> None:
    users = {module for module, names in EDGES.items() if any(within(name, used) for name in names)}
    assert users == USERS[used]


@pytest.mark.parametrize("library", LIBRARIES)
def test_a_library_is_known_where_it_is_needed_and_nowhere_else(library: str) -> None:
    users = {
        module for module, names in EDGES.items() if any(within(name, library) for name in names)
    }
    assert users
    assert not [module for module in users if not module.startswith(LIBRARIES[library])]


def test_nothing_that_is_installed_imports_tests_or_lessons() -> None:
    for module, names in EDGES.items():
        strangers = {"tests"} if within(module, "lessons") else {"tests", "lessons"}
        assert not strangers & {name.partition(".")[0] for name in names}, module


def test_a_lesson_has_the_standard_library_and_what_lessons_share_and_no_more() -> None:
    for module, names in EDGES.items():
        if within(module, "lessons"):
            packages = {name.partition(".")[0] for name in names} - {"lessons"}
            assert packages <= {*sys.stdlib_module_names}, module
            ours = {".".join(name.split(".")[:2]) for name in names if within(name, "lessons")}
            assert ours <= {"lessons.stage", "lessons.watching"}, module


def test_the_imports_are_really_read() -> None:
    assert len(EDGES) > 30
    assert "shared.schema.Payment" in EDGES["services.payment.settle"]
    assert "shared.schema" in ARROWS["services.payment.settle"]
    assert "services.processes.fork_server" in ARROWS["services.cli.common"], "a late import"
    assert "shared.ledger.ledger" in ARROWS["services.payment.settle"], "for types alone"
