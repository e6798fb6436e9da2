"""Programs of the system that some tests need: where they are, and how they get there.

A test asks for one by `needed("nginx")`. `python -m tests.support.needs system`, which `make
test-system` runs first, looks for all of its target's; root installs what is missing where there is
apt-get.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

_INSTALL_SECONDS = 600
# Debian and Homebrew keep servers where a user's path does not lead.
FOLDERS = ("/usr/sbin", "/usr/local/sbin", "/opt/homebrew/bin", "/opt/homebrew/sbin")
_APPLICATIONS = "/Applications/{0}.app/Contents/MacOS/{0}"


@dataclass(frozen=True)
class Program:
    """One program.

    Attributes:
        target: Whose tests need it, `make test-TARGET`; several in a row.
        names: What its file may be called, the best first.
        debian: The package that has it there.
        homebrew: What `brew install` is to be given.
        variable: An environment variable that names the file; none if empty.
    """

    target: str
    names: tuple[str, ...]
    debian: str
    homebrew: str
    variable: str = ""

    def find(self) -> Path | None:
        """Look for it: by its variable, on the path, and where packages put it."""
        if given := os.environ.get(self.variable):
            return Path(given)
        path = os.pathsep.join((os.environ.get("PATH", ""), *FOLDERS))
        found = (shutil.which(name, path=path) for name in self.names)
        return next((Path(each) for each in found if each), None)


PROGRAMS = {
    "chromium": Program(
        "page",
        (
            *("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome"),
            _APPLICATIONS.format("Chromium"),
            _APPLICATIONS.format("Google Chrome"),
        ),
        debian="chromium",
        homebrew="--cask chromium",
        variable="CHROMIUM",
    ),
    "nginx": Program("system page", ("nginx",), debian="nginx", homebrew="nginx"),
    "unshare": Program("system", ("unshare",), debian="util-linux", homebrew="util-linux"),
    "openssl": Program("system", ("openssl",), debian="openssl", homebrew="openssl"),
    "pgbouncer": Program("system", ("pgbouncer",), debian="pgbouncer", homebrew="pgbouncer"),
    # The one of the wheel speaks no TLS.
    "redis-server": Program(
        "system", ("redis-server", "valkey-server"), debian="redis-server", homebrew="redis"
    ),
}


def needed(name: str) -> Path:
    """Find a program for a test, which fails without it and says what to install."""
    found = PROGRAMS[name].find()
    if found is None:
        pytest.fail(_complaint(PROGRAMS[name].target.split()[0], [name]), pytrace=False)
    return found


def main(target: str) -> None:
    """See that a target has its programs, or end with a line that says what to install."""
    missing = _missing(target)
    if missing and os.geteuid() == 0 and shutil.which("apt-get"):
        _install([PROGRAMS[name].debian for name in missing])
        missing = _missing(target)
    if missing:
        sys.exit(f"orderly: {_complaint(target, missing)}")


def _missing(target: str) -> list[str]:
    return [
        name
        for name, program in PROGRAMS.items()
        if target in program.target.split() and program.find() is None
    ]


def _install(packages: list[str]) -> None:
    """Try to; whether it was of use, the next look says."""
    print(f"installing {' '.join(packages)} with apt-get ...", flush=True)  # noqa: T201
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    install = ["apt-get", "install", "-y", "-qq", "--no-install-recommends", *packages]
    for command in (["apt-get", "update", "-qq"], install):
        try:
            done = subprocess.run(
                command,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
                timeout=_INSTALL_SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired as expired:
            print(expired, file=sys.stderr)  # noqa: T201
        else:
            if done.returncode:
                print(done.stderr.strip(), file=sys.stderr)  # noqa: T201


def _complaint(target: str, missing: list[str]) -> str:
    debian = " ".join(PROGRAMS[name].debian for name in missing)
    homebrew = " ".join(PROGRAMS[name].homebrew for name in missing)
    variables = [PROGRAMS[name].variable for name in missing if PROGRAMS[name].variable]
    by_hand = "".join(f", or name one in {name}" for name in variables)
    return (
        f"`make test-{target}` needs {', '.join(missing)}: install what is missing (on Debian: "
        f"apt install {debian}, on macOS: brew install {homebrew}){by_hand}"
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
