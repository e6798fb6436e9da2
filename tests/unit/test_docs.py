"""The documents keep up with the code: what can be called, set or followed is there."""

from __future__ import annotations

import pkgutil
import re
import tomllib
from typing import TYPE_CHECKING, Any, get_args

import pytest
import typer

from services.cli.app import app
from services.cli.lesson import CHAPTERS, LESSONS
from services.http.models import Event
from services.http.problems import KINDS
from shared import errors
from shared.settings import Settings
from tests.support.orderly import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

README = (ROOT / "README.md").read_text(encoding="utf-8")
CHANGELOG = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *sorted((ROOT / "docs").rglob("*.md")),
    *sorted((ROOT / "examples").glob("*.md")),
]
COMMAND: Any = typer.main.get_command(app)


def section(title: str) -> str:
    """Cut a section out of the README, without its heading."""
    _, found, rest = README.partition(f"\n## {title}\n")
    assert found, f"README.md has no section {title!r}"
    return rest.partition("\n## ")[0]


def first_cells(text: str) -> list[str]:
    """Read the first column of every table."""
    return re.findall(r"^\| (`.*?) \|", text, flags=re.MULTILINE)


def commands(command: Any, name: str = "orderly") -> Iterator[str]:
    """Name every command that people call; a group is what its commands are."""
    inner = getattr(command, "commands", {})
    if not inner:
        yield name
    for word, each in inner.items():
        if not each.hidden:
            yield from commands(each, f"{name} {word}")


def quoted(text: str) -> list[str]:
    return re.findall(r"`([^`\n]+)`", text)


def without_code(page: Path) -> str:
    return re.sub(
        r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE
    )


def slug(heading: str) -> str:
    """Make a heading's anchor as GitHub does."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def test_every_command_is_in_the_table_of_commands_and_no_other() -> None:
    cells = [cell for cell in first_cells(section("Commands")) if cell.startswith("`orderly")]
    documented = [re.split(r" [\[A-Z]", cell.strip("`"))[0] for cell in cells]
    assert sorted(documented) == sorted(commands(COMMAND))


@pytest.mark.parametrize(
    "option",
    [
        name
        for each in COMMAND.commands["run"].params
        for name in each.opts
        if name.startswith("--")
    ],
)
def test_every_option_of_run_is_described(option: str) -> None:
    assert f"`{option}" in section("Commands")


def test_every_setting_is_in_the_table_of_settings_with_its_default() -> None:
    rows = re.findall(r"^\| `([A-Z_]+)` \| (.*?) \|", section("Settings"), flags=re.MULTILINE)
    defaults = {
        name.upper(): f"`{field.default}`" if str(field.default) else "none"
        for name, field in Settings.model_fields.items()
    }
    assert dict(rows) == defaults
    assert len(rows) == len(defaults)


def test_every_make_target_is_named() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z0-9-]+):.*?## ", makefile, flags=re.MULTILINE))
    assert targets
    assert set(re.findall(r"`make ([a-z0-9-]+)`", README)) == targets


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)\s]+)\)", without_code(page))
    for link in links:
        if link.startswith("https://"):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.is_relative_to(ROOT), link
        assert target.exists(), link
        if anchor:
            headings = re.findall(r"^#+ (.*)$", without_code(target), flags=re.MULTILINE)
            assert anchor in map(slug, headings), link


def test_every_place_named_in_where_things_are_exists() -> None:
    places = [path for cell in first_cells(section("Where things are")) for path in quoted(cell)]
    assert places
    for place in places:
        path = ROOT / place
        assert path.is_dir() if place.endswith("/") else path.is_file(), place


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_path_in_backquotes_exists(page: Path) -> None:
    for name in quoted(without_code(page)):
        if re.fullmatch(
            r"(shared|services|lessons|tests|examples|docs|requirements)/[\w./-]*", name
        ):
            assert (ROOT / name).exists(), name


@pytest.mark.parametrize("page", ["lessons.md", "lessons.zh.md"])
def test_the_course_has_every_lesson_in_its_place_with_what_it_prints(page: str) -> None:
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    assert tuple(re.findall(r"^### (.*)$", text, flags=re.MULTILINE)) == LESSONS
    assert text.count("\n## ") > len(CHAPTERS)
    lesson = r"^### .*\n\n(?:.+\n)+\n```console\n\$ orderly lesson ([a-z0-9-]+)"
    shown = re.findall(lesson, text, flags=re.MULTILINE)
    assert tuple(shown) == LESSONS
    assert len(re.findall(r"^In Orderly    ", text, flags=re.MULTILINE)) == len(LESSONS)


def test_both_pages_of_the_course_show_the_same_outputs() -> None:
    block = re.compile(r"^```console.*?^```", flags=re.MULTILINE | re.DOTALL)
    english, chinese = (
        block.findall((ROOT / "docs" / page).read_text(encoding="utf-8"))
        for page in ("lessons.md", "lessons.zh.md")
    )
    assert english == chinese


def test_every_state_of_an_order_is_drawn_and_explained() -> None:
    told = {*get_args(Event.model_fields["event"].annotation)} - {"failed"} | {"open"}
    picture = (ROOT / "docs" / "states.svg").read_text(encoding="utf-8")
    assert {*re.findall(r'class="name middle".*?>(.*)</text>', picture)} == told
    page = (ROOT / "docs" / "how-it-works.md").read_text(encoding="utf-8")
    rows = re.findall(
        r"^\| ([a-z, ]+) \|", page.partition("## An order's states")[2], flags=re.MULTILINE
    )
    assert told <= {name for row in rows for name in row.split(", ")}


def resolves(name: str) -> bool:
    """Whether a dotted name leads to a module, or to something in one."""
    try:
        pkgutil.resolve_name(name)
    except (ImportError, AttributeError):
        return False
    return True


def test_the_version_has_its_day_in_the_changelog() -> None:
    with (ROOT / "pyproject.toml").open("rb") as file:
        version = tomllib.load(file)["project"]["version"]
    assert re.search(rf"^## \[{re.escape(version)}\] - \d{{4}}-\d\d-\d\d$", CHANGELOG, re.MULTILINE)


def test_what_has_moved_since_is_where_the_changelog_says() -> None:
    unreleased = CHANGELOG.partition("## [Unreleased]")[2].partition("\n## ")[0]
    rows = re.findall(r"^ *\| `([\w.]+)` \| `([\w.]+)` \|", unreleased, flags=re.MULTILINE)
    assert not [was for was, _ in rows if resolves(was)]
    assert not [now for _, now in rows if not resolves(now)]


def test_every_exit_code_is_explained() -> None:
    documented = re.findall(r"^\| (\d) \|", section("Commands"), flags=re.MULTILINE)
    raised = {
        each.exit_code
        for each in vars(errors).values()
        if isinstance(each, type) and issubclass(each, errors.OrderlyError)
    }
    assert set(map(int, documented)) == {0, *raised}


def test_every_kind_of_problem_is_in_docs_with_its_status() -> None:
    page = (ROOT / "docs" / "http.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(/problems/.*?)` \| (\d+) \|", page, flags=re.MULTILINE)
    assert rows == [(kind.type, str(kind.status)) for kind in KINDS.values()]
