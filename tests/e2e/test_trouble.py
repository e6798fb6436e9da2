"""What the targets say where something is missing: a line with a remedy, never a traceback."""

from __future__ import annotations

import shutil
import socket
from typing import TYPE_CHECKING

import pytest

from tests.support.stack import Stack

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.orderly import Result

NEED_AN_ENGINE = ("up", "down", "logs", "ps", "demo", "reset")


def complaint(result: Result) -> str:
    """The one line that a target said, beside make's own."""
    assert result.code != 0, result
    ours = [line for line in result.err.splitlines() if not line.startswith("make:")]
    assert len(ours) == 1, result
    assert ours[0].startswith("orderly: ")
    return ours[0]


@pytest.fixture
def idle() -> Stack:
    """A project of which nothing has been started."""
    return Stack("redis")


@pytest.mark.parametrize("target", NEED_AN_ENGINE)
def test_without_docker_it_says_what_to_install(idle: Stack, target: str, tmp_path: Path) -> None:
    for name in ("bash", "make", "dirname", "cat", "sed", "head", "grep", "awk", "sh"):
        found = shutil.which(name)
        assert found, name
        (tmp_path / name).symlink_to(found)
    said = complaint(idle.make(target, PATH=str(tmp_path)))
    assert "docker is not installed; install Docker" in said
    assert "make run" in said


@pytest.mark.parametrize("target", NEED_AN_ENGINE)
def test_without_an_engine_that_answers_it_says_to_start_it(idle: Stack, target: str) -> None:
    said = complaint(idle.make(target, DOCKER_HOST="unix:///nowhere/docker.sock"))
    assert "the Docker engine does not answer; start it" in said


def test_the_doctor_says_it_too(idle: Stack) -> None:
    result = idle.make("doctor", DOCKER_HOST="unix:///nowhere/docker.sock")
    assert result.code != 0
    assert "engine    MISSING  the Docker engine does not answer" in result.out
    healthy = idle.make("doctor")
    assert healthy.code == 0, healthy
    for what in ("engine", "compose", "memory", "disk", "images", "port", "secrets"):
        assert f"\n  {what} " in f"\n{healthy.out}"
    assert "MISSING" not in healthy.out
    assert not idle.leftovers()


def test_a_taken_port_is_named_with_another_one(idle: Stack) -> None:
    with socket.create_server(("127.0.0.1", idle.port)):
        said = complaint(idle.make("up"))
        doctor = idle.make("doctor")
    assert f"port {idle.port} on 127.0.0.1 is taken" in said
    assert f"HTTP_PORT={idle.port + 1} make up" in said
    assert "port      MISSING" in doctor.out
    assert doctor.code != 0
    assert not idle.leftovers()


def test_the_container_that_has_the_port_is_named(idle: Stack, local_stack: Stack) -> None:
    said = complaint(idle.make("up", HTTP_PORT=str(local_stack.port)))
    assert f"by the container {local_stack.project}-local-1" in said


@pytest.mark.parametrize("target", ["up", "scale", "demo", "doctor"])
def test_an_unknown_mode_names_both(idle: Stack, target: str) -> None:
    said = complaint(idle.make(target, QUEUE_MODE="kafka", N="2"))
    assert "QUEUE_MODE='kafka' is not known; choose local or redis" in said


@pytest.mark.parametrize("count", ["", "0", "-1", "many", "1.5"])
def test_scale_wants_a_number(idle: Stack, count: str) -> None:
    assert "make scale N=4" in complaint(idle.make("scale", f"N={count}"))


def test_scale_is_for_the_scaled_out_stack(idle: Stack) -> None:
    assert "`make up` starts it" in complaint(idle.make("scale", "N=2"))
    said = complaint(idle.make("scale", "N=2", QUEUE_MODE="local"))
    assert "PAYMENT_WORKERS=2 QUEUE_MODE=local make up" in said


def test_a_ledger_without_its_password_is_told_apart_from_a_broken_one(idle: Stack) -> None:
    volume = f"{idle.project}_postgres"
    idle.docker("volume", "create", volume)
    try:
        said = complaint(idle.make("up"))
        assert f"the ledger {volume} is there, but its password" in said
        assert "make reset" in said
        assert "secrets   MISSING" in idle.make("doctor").out
    finally:
        idle.docker("volume", "rm", volume)


def test_a_part_of_the_passwords_is_not_enough(idle: Stack) -> None:
    idle.secrets.mkdir(parents=True, mode=0o700)
    try:
        (idle.secrets / "redis_password").write_text("one of them")
        assert "redis.conf is missing; put it back" in complaint(idle.make("up"))
    finally:
        shutil.rmtree(idle.secrets)


def test_a_stack_that_does_not_come_up_says_why(idle: Stack) -> None:
    idle.mode = "local"
    try:
        result = idle.make("up", QUEUE_MODE="local", PAYMENT_WORKERS="many")
        assert result.code != 0
        assert "PAYMENT_WORKERS='many'" in result.err
        assert "the local stack did not come up; see above" in result.err
        assert "Traceback" not in result.out + result.err
    finally:
        idle.close()
