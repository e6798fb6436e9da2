"""What editors, hooks and containers are told of this project agrees with what it does."""

from __future__ import annotations

import configparser
import json
import os
import re
import tomllib
from fnmatch import fnmatch
from typing import TYPE_CHECKING, Any

from shared.settings import Settings
from tests.support.orderly import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NO_TEXTS = {".webp", ".gz"}
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")


def ignored() -> list[str]:
    lines = (ROOT / ".gitignore").read_text(encoding="utf-8").splitlines()
    return [".git", *(line.strip("/") for line in lines)]


def texts() -> Iterator[Path]:
    """Every text file of the project, and none that git leaves alone."""
    left_alone = ignored()
    for folder, folders, names in os.walk(ROOT):
        kept = [
            [name for name in each if not any(fnmatch(name, mark) for mark in left_alone)]
            for each in (folders, names)
        ]
        folders[:] = kept[0]
        for name in kept[1]:
            path = ROOT / folder / name
            if path.suffix not in NO_TEXTS:
                yield path


def editorconfig() -> configparser.ConfigParser:
    parser = configparser.ConfigParser()
    parser.read_string("[root]\n" + (ROOT / ".editorconfig").read_text(encoding="utf-8"))
    return parser


def told(path: Path) -> dict[str, str]:
    """What an editor is told of a file: later sections win."""
    parser = editorconfig()
    found: dict[str, str] = {}
    for section in parser.sections()[1:]:
        names = re.match(r"(.*)\{(.*)\}(.*)", section)
        globs = [f"{names[1]}{each}{names[3]}" for each in names[2].split(",")] if names else []
        if any(fnmatch(path.name, each) for each in globs or [section]):
            found |= dict(parser[section])
    return found


def make_targets(command: str) -> list[str]:
    """The targets of a make command, as the Makefile spells them."""
    program, *targets = command.split()
    assert program == "make"
    return [each.replace(".venv", "$(VENV)") for each in targets]


def is_target(name: str) -> bool:
    return re.search(rf"^{re.escape(name)}:", MAKEFILE, flags=re.MULTILINE) is not None


def breaches(path: Path) -> Iterator[str]:
    """What in a text is not as editors are told."""
    rules = told(path)
    text = path.read_bytes().decode(rules["charset"])
    if rules["end_of_line"] != "lf" or "\r" in text:
        yield "has line ends other than LF"
    if rules["insert_final_newline"] != "true" or (text and not re.search(r"[^\n]\n\Z", text)):
        yield "does not end with one line end"
    if rules["trim_trailing_whitespace"] != "true" or re.search(r"(?m)[ \t]$", text):
        yield "has a line that ends in blanks"
    if rules["indent_style"] == "space" and re.search(r"(?m)^ *\t", text):
        yield "is indented with tabs"


def test_every_text_is_as_editors_are_told() -> None:
    paths = [*texts()]
    assert {ROOT / "README.md", ROOT / ".ci" / "run", ROOT / "shared" / "schema.py"} <= {*paths}
    found = [f"{path.relative_to(ROOT)} {each}" for path in paths for each in breaches(path)]
    assert not found


def test_lines_are_as_long_as_ruff_has_them() -> None:
    with (ROOT / "pyproject.toml").open("rb") as file:
        ruff: dict[str, Any] = tomllib.load(file)["tool"]["ruff"]
    assert told(ROOT / "any.py")["max_line_length"] == str(ruff["line-length"])
    assert told(ROOT / "any.py")["indent_size"] == str(ruff.get("indent-width", 4))


def test_hooks_do_what_make_does_with_the_tools_of_the_lock_file() -> None:
    hooks = (ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8")
    entries = re.findall(r"^ +entry: (.*)$", hooks, flags=re.MULTILINE)
    assert entries == ["make lint", "make type"]
    assert all(is_target(each) for entry in entries for each in make_targets(entry))
    assert set(re.findall(r"repo: (\S+)", hooks)) == {"local"}
    assert re.findall(r"language: (\S+)", hooks) == ["system"] * len(entries)


def test_the_development_container_names_what_there_is() -> None:
    told = json.loads((ROOT / ".devcontainer" / "devcontainer.json").read_bytes())
    assert all(is_target(each) for each in make_targets(told["postCreateCommand"]))
    assert told["forwardPorts"] == [Settings.model_fields["http_port"].default]
    assert list(told["portsAttributes"]) == list(map(str, told["forwardPorts"]))
    python = told["customizations"]["vscode"]["settings"]["python.defaultInterpreterPath"]
    assert python == "${containerWorkspaceFolder}/.venv/bin/python"
    # The same Python as the image has that is shipped; not slim, since it needs make and git.
    shipped = re.search(
        r"PYTHON_IMAGE=(python:[\d.]+)-slim(-\w+)", (ROOT / "Dockerfile").read_text()
    )
    assert shipped
    assert told["image"] == shipped[1] + shipped[2]
