"""What a target finds, installs or asks for, before its tests begin."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.support import needs
from tests.support.orderly import ROOT

if TYPE_CHECKING:
    from pathlib import Path

Patch = pytest.MonkeyPatch

# Has every package but one.
_APT_GET = """#!/bin/sh
echo "$*" >>"$0.asked"
case "$*" in
    *pooler-server) echo 'E: no room for pooler-server' >&2; exit 100 ;;
    install*) cp "$0" "${0%/*}/browser"; cp "$0" "${0%/*}/proxy" ;;
esac
"""
CHROMIUM = needs.PROGRAMS["chromium"]
PROGRAMS = {
    "browser": needs.Program("page", ("browser",), "a-browser", "--cask browser", "BROWSER"),
    "proxy": needs.Program("page system", ("proxy",), "proxy-core", "proxy"),
    "pooler": needs.Program("system", ("pooler", "pooler-2"), "pooler-server", "pooler"),
}


@pytest.fixture(autouse=True)
def path(tmp_path: Path, monkeypatch: Patch) -> Path:
    """A machine with nothing on the path, whose user may not install anything."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.setattr(needs, "PROGRAMS", PROGRAMS)
    monkeypatch.setattr(needs, "FOLDERS", ())
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    return folder


def install(folder: Path, *names: str, text: str = "") -> None:
    for name in names:
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)


def test_a_program_is_taken_from_the_path_or_from_where_packages_put_it(
    path: Path, tmp_path: Path, monkeypatch: Patch
) -> None:
    elsewhere = tmp_path / "sbin"
    elsewhere.mkdir()
    install(elsewhere, "pooler-2")
    monkeypatch.setattr(needs, "FOLDERS", (str(elsewhere),))
    assert needs.needed("pooler") == elsewhere / "pooler-2"
    install(path, "pooler")
    assert needs.needed("pooler") == path / "pooler"


@pytest.mark.parametrize("name", ["chromium", "chromium-browser", "google-chrome"])
def test_chromium_has_several_names_and_can_be_named(
    path: Path, monkeypatch: Patch, name: str
) -> None:
    monkeypatch.delenv("CHROMIUM", raising=False)
    install(path, name)
    assert CHROMIUM.find() == path / name
    monkeypatch.setenv("CHROMIUM", "/opt/mine")
    assert str(CHROMIUM.find()) == "/opt/mine"


def test_a_program_is_found_among_the_applications_of_a_mac(tmp_path: Path) -> None:
    assert "/Applications/Chromium.app/Contents/MacOS/Chromium" in CHROMIUM.names
    install(tmp_path, "Chromium")
    program = needs.Program("page", ("chromium", str(tmp_path / "Chromium")), "", "")
    assert program.find() == tmp_path / "Chromium"


def test_a_test_without_its_program_fails_and_says_what_to_install() -> None:
    with pytest.raises(pytest.fail.Exception, match=r"install proxy-core, .* brew install proxy"):
        needs.needed("proxy")


def test_a_target_without_its_programs_says_in_a_line_what_to_install() -> None:
    with pytest.raises(SystemExit) as ended:
        needs.main("page")
    assert str(ended.value) == (
        "orderly: `make test-page` needs browser, proxy: install what is missing (on Debian: apt "
        "install a-browser proxy-core, on macOS: brew install --cask browser proxy), or name one "
        "in BROWSER"
    )


def test_the_line_names_nothing_that_is_there(path: Path) -> None:
    install(path, "proxy")
    with pytest.raises(SystemExit) as ended:
        needs.main("system")
    assert "`make test-system` needs pooler: " in str(ended.value)
    assert "proxy" not in str(ended.value)


def test_a_target_that_has_its_programs_says_nothing(
    path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    install(path, "proxy", "pooler-2", "apt-get")
    needs.main("system")
    assert capfd.readouterr() == ("", "")


def test_root_has_apt_get_install_what_is_missing(path: Path, monkeypatch: Patch) -> None:
    install(path, "apt-get", text=_APT_GET)
    monkeypatch.setenv("PATH", f"{path}:{os.defpath}")  # it needs a shell's tools
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    needs.main("page")
    assert (path / "apt-get.asked").read_text().splitlines() == [
        "update -qq",
        "install -y -qq --no-install-recommends a-browser proxy-core",
    ]


def test_what_apt_get_says_is_passed_on_where_it_fails(
    path: Path, monkeypatch: Patch, capfd: pytest.CaptureFixture[str]
) -> None:
    install(path, "proxy")
    install(path, "apt-get", text=_APT_GET)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    with pytest.raises(SystemExit, match="needs pooler: "):
        needs.main("system")
    assert capfd.readouterr().err == "E: no room for pooler-server\n"


def test_nobody_but_root_is_given_to_apt_get(path: Path) -> None:
    install(path, "apt-get", text=_APT_GET)
    with pytest.raises(SystemExit, match="needs browser"):
        needs.main("page")
    assert not (path / "apt-get.asked").exists()


@pytest.mark.long
def test_pytest_alone_says_which_tests_it_leaves_out() -> None:
    paths = "testpaths=tests/unit/test_file_lock.py"
    command = [
        sys.executable,
        "-m",
        "pytest",
        "--collect-only",
        "-qq",
        "-o",
        paths,
        "-m",
        "not long",
    ]
    said = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False).stdout
    for target in ("test-long", "test-page", "test-system", "test-e2e"):
        assert f"make {target}" in said.splitlines()[-1]


def test_every_folder_of_tests_has_a_target(pytestconfig: pytest.Config) -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    folders = {f"tests/{path.parent.name}" for path in (ROOT / "tests").glob("*/test_*.py")}
    ours = set(pytestconfig.getini("testpaths"))
    assert ours == {"tests/unit", "tests/contract", "tests/integration"}
    for folder in folders - ours:
        assert f"pytest {folder}\n" in makefile
