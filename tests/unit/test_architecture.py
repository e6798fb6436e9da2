"""Imports run downward only, as the README's picture has it; read from the source itself."""

from __future__ import annotations

import ast
import sys
from typing import TYPE_CHECKING

import pytest

from tests.orderly import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# Whoever is on the left imports nothing of what is on the right, not even for its types.
FORBIDDEN = [
    ("shared", "services"),
    ("shared", "tests"),
    ("services", "tests"),
    ("shared.queue", "shared.ledger"),
    ("shared.ledger", "shared.queue"),
    ("services.producer", "services.payment"),
    ("services.producer", "services.dashboard"),
    ("services.payment", "services.producer"),
    ("services.payment", "services.dashboard"),
    ("services.dashboard", "services.producer"),
    ("services.dashboard", "services.payment"),
    ("services.payment.settle", "shared.queue"),
    ("services.payment.next_batch", "shared.queue"),
    ("services.payment.consumer", "shared.queue"),
    ("services.http", "services.payment"),
    ("services.http", "services.dashboard"),
    ("services.payment", "services.http"),
    # A lesson is read and run by itself; nobody imports one, `orderly lesson` runs them.
    ("lessons", "shared"),
    ("lessons", "services"),
    ("lessons", "tests"),
    ("shared", "lessons"),
    ("services", "lessons"),
]
# What every module may use, so it can use nothing of theirs.
LOWEST = tuple(
    f"shared.{name}"
    for name in (
        *("schema", "reasons", "weight", "errors", "settings", "environment", "passwords"),
        *("currencies", "clock", "metrics", "collector", "texts", "redis_urls"),
    )
)
# Nobody imports these but those that are named: the ways in, and what belongs to one mode or one
# database, whose libraries are slow to load and not for everybody to know.
USERS = {
    "services.cli.app": {"services.__main__"},
    "services.__main__": set[str](),
    "shared.environment": {"services.cli.common"},
    "services.pipeline.local": {"services.pipeline.select"},
    "services.pipeline.redis": {"services.pipeline.select"},
    "services.payment.rq_worker": {"services.payment.worker"},
    "services.payment.rq_job": {"services.payment.rq_worker"},
    "shared.queue.local_queue": {"services.pipeline.local"},
    "shared.queue.redis_queue": {"services.pipeline.redis"},
    "shared.queue.redis_sending": {"shared.queue.redis_queue", "services.payment.rq_worker"},
    "shared.queue.redis_watch": {"shared.queue.redis_queue"},
    "shared.queue.redis_types": {"shared.queue.redis_watch"},
    "shared.queue.redis_check": {"shared.queue.redis_watch", "services.pipeline.select"},
    "shared.queue.controls": {"services.pipeline.redis", "services.payment.rq_worker"},
    "shared.queue.closed_job": {
        *("shared.queue.redis_sending", "services.payment.rq_job", "services.payment.rq_worker"),
    },
    "shared.ledger.postgres": {"shared.ledger.database"},
    "rq": {
        *("shared.queue.redis_sending", "shared.queue.closed_job"),
        *("services.payment.rq_job", "services.payment.rq_worker"),
    },
    "redis": {
        *("shared.queue.redis_line", "shared.queue.redis_ailments", "shared.queue.redis_check"),
        *("shared.queue.redis_queue", "shared.queue.redis_sending", "shared.queue.closed_job"),
        "shared.queue.redis_types",
        *("services.payment.rq_job", "services.payment.rq_worker"),
    },
    "shared.ledger.postgres_session": {"shared.ledger.postgres"},
    "shared.ledger.postgres_errors": {"shared.ledger.postgres", "shared.ledger.postgres_session"},
    "psycopg": {
        f"shared.ledger.{name}" for name in ("postgres", "postgres_session", "postgres_errors")
    },
}


def modules() -> Iterator[tuple[str, Path]]:
    for package in ("shared", "services", "lessons"):
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


EDGES = {module.removesuffix(".__init__"): imports(path, module) for module, path in modules()}


@pytest.mark.parametrize(("upper", "lower"), FORBIDDEN)
def test_imports_run_downward_only(upper: str, lower: str) -> None:
    breaches = [
        f"{module} imports {name}"
        for module, names in EDGES.items()
        for name in names
        if within(module, upper) and within(name, lower)
    ]
    assert not breaches


@pytest.mark.parametrize("module", LOWEST)
def test_the_lowest_modules_know_nothing_above_them(module: str) -> None:
    ours = {name for name in EDGES[module] if within(name, "shared") or within(name, "services")}
    assert all(any(within(name, low) for low in LOWEST) for name in ours)


@pytest.mark.parametrize("used", USERS)
def test_what_is_for_few_is_imported_by_no_others(used: str) -> None:
    users = {module for module, names in EDGES.items() if any(within(name, used) for name in names)}
    assert users == USERS[used]


def test_a_lesson_has_the_standard_library_and_what_lessons_share_and_no_more() -> None:
    for module, names in EDGES.items():
        if within(module, "lessons"):
            packages = {name.partition(".")[0] for name in names} - {"lessons"}
            assert packages <= {*sys.stdlib_module_names}, module
            ours = {".".join(name.split(".")[:2]) for name in names if within(name, "lessons")}
            assert ours <= {"lessons.stage", "lessons.watching"}, module


def test_the_imports_are_really_read() -> None:
    assert len(EDGES) > 30
    assert "shared.schema.read_header" in EDGES["services.payment.settle"]
    assert "shared.ledger.opening.Ledger" in EDGES["services.payment.settle"]
