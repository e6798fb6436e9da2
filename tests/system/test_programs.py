"""What `make test-system` finds can be run."""

from __future__ import annotations

import subprocess

import pytest

from tests.support.needs import needed


@pytest.mark.parametrize(
    ("name", "option"),
    [
        ("nginx", "-v"),
        ("openssl", "version"),
        ("pgbouncer", "--version"),
        ("redis-server", "--version"),
    ],
)
def test_a_program_says_its_version(name: str, option: str) -> None:
    command = [str(needed(name)), option]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)
    assert any(map(str.isdigit, done.stdout + done.stderr))
