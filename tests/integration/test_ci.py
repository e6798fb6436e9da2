"""What CI runs: which targets, and where it gets a container engine from."""

from __future__ import annotations

import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.support.orderly import ROOT

if TYPE_CHECKING:
    from pathlib import Path

MAKEFILE = """
lint type test test-long test-page test-system test-e2e:
\t@echo $@ $$PYTHON_IMAGE
"""
ENGINE = """#!/bin/sh
echo "engine $*" >> engine.log
[ "$1" = stop ] || echo export PYTHON_IMAGE=image-of-{name}
"""
LOCAL = ["lint", "type", "test", "test-long", "test-page", "test-system"]


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout whose targets say that they were made, and with which image."""
    folder = tmp_path / "checkout"
    (folder / ".ci").mkdir(parents=True)
    shutil.copy(ROOT / ".ci" / "run", folder / ".ci")
    (folder / "Makefile").write_text(MAKEFILE)
    return folder


def add_engine(path: Path, name: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(ENGINE.format(name=name))
    path.chmod(0o755)
    return path


def ci(checkout: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run it from the folder above, as a caller may."""
    return subprocess.run(
        ["checkout/.ci/run"],
        cwd=checkout.parent,
        env={"PATH": "/usr/local/bin:/usr/bin:/bin", **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def made(done: subprocess.CompletedProcess[str]) -> list[str]:
    assert done.returncode == 0, done
    return [line.strip() for line in done.stdout.splitlines() if not line.startswith("make")]


def test_without_a_program_the_engine_on_the_path_is_left_as_it_is(checkout: Path) -> None:
    assert made(ci(checkout)) == [*LOCAL, "test-e2e"]


@pytest.mark.parametrize("place", ["shared/tools", "machine/tools"])
def test_a_program_beside_the_checkout_is_found_and_told_to_stop(
    checkout: Path, place: str
) -> None:
    add_engine(checkout.parent / place / "container-engine", "beside")
    assert made(ci(checkout)) == [*LOCAL, "test-e2e image-of-beside"]
    assert (checkout / "engine.log").read_text().split("\n") == ["engine ", "engine stop", ""]


def test_the_program_that_is_named_goes_first(checkout: Path) -> None:
    add_engine(checkout.parent / "shared" / "tools" / "container-engine", "beside")
    add_engine(checkout.parent / "mine", "named")
    assert made(ci(checkout, CONTAINER_ENGINE="mine")) == [*LOCAL, "test-e2e image-of-named"]


def test_an_engine_is_stopped_after_tests_that_fail(checkout: Path) -> None:
    add_engine(checkout.parent / "shared" / "tools" / "container-engine", "beside")
    with (checkout / "Makefile").open("a") as file:
        file.write("\t@[ $@ != test-e2e ]\n")
    assert ci(checkout).returncode != 0
    assert (checkout / "engine.log").read_text().endswith("engine stop\n")


def test_a_name_that_leads_nowhere_is_told_before_the_tests(checkout: Path) -> None:
    done = ci(checkout, CONTAINER_ENGINE="./nowhere")
    assert (done.returncode, done.stdout) == (2, "")
    assert "CONTAINER_ENGINE=./nowhere is no program" in done.stderr
