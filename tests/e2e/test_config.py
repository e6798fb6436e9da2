"""What `docker compose config` says: clean in both modes, and open to what a user sets."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from shared.settings import Settings
from tests.support.stack import PRODUCERS, SERVICES, Stack

OWN = {
    *("QUEUE_MODE", "REDIS_URL", "LEDGER_URL"),
    *("REDIS_PASSWORD_FILE", "LEDGER_PASSWORD_FILE", "API_TOKEN", "API_TOKEN_FILE"),
    *("BANK_URL", "GATEWAY_TOKEN_FILE", "GATEWAY_CA_FILE"),
}
"""What the stack decides, and not its user."""

OF_THE_PRODUCER = {"HTTP_HOST", "HTTP_PORT", "HTTP_ALLOWED_HOSTS", "HTTP_KEEP_ALIVE"}
"""What only a service with HTTP needs; host and port within the container are the image's."""

IMAGES = {
    "PYTHON_IMAGE": "python:3.11-slim-bookworm",
    "REDIS_IMAGE": "redis:7-bookworm",
    "POSTGRES_IMAGE": "postgres:15-bookworm",
}


def config(mode: str, **environment: str) -> dict[str, Any]:
    """Read what compose makes of its file."""
    stack = Stack(mode)
    for name in IMAGES:
        stack.environment.pop(name, None)
    result = stack.compose("config", "--format", "json", **environment)
    assert (result.code, result.err) == (0, "")
    found: dict[str, Any] = json.loads(result.out)
    return found


@pytest.mark.parametrize("mode", ["local", "redis"])
def test_it_is_clean(mode: str) -> None:
    services = config(mode)["services"]
    assert set(services) == set(SERVICES[mode])
    assert not [name for name, each in services.items() if "container_name" in each]


@pytest.mark.parametrize("mode", ["local", "redis"])
def test_every_setting_of_the_host_reaches_the_services_that_use_it(mode: str) -> None:
    wanted = {name.upper() for name in Settings.model_fields} - OWN
    services = config(mode, **{name: f"of-the-host-{name}" for name in wanted - {"HTTP_PORT"}})
    for name, service in services["services"].items():
        if name in {"redis", "postgres"}:
            continue
        mine = (
            wanted - {"HTTP_HOST", "HTTP_PORT"}
            if name == PRODUCERS[mode]
            else wanted - OF_THE_PRODUCER
        )
        given = service["environment"]
        assert {each for each in given if given[each] == f"of-the-host-{each}"} == mine
        assert given["QUEUE_MODE"] == mode


@pytest.mark.parametrize("mode", ["local", "redis"])
def test_what_is_not_set_is_left_to_the_program(mode: str) -> None:
    for name, service in config(mode)["services"].items():
        given = (
            {key for key, value in service["environment"].items() if value}
            if ("environment" in service)
            else set()
        )
        if name not in {"redis", "postgres"}:
            assert given <= OWN | {"TMPDIR"}


def test_the_images_are_the_tested_ones_and_can_be_others() -> None:
    services = config("redis")["services"]
    assert services["migrate"]["build"]["args"]["PYTHON_IMAGE"] == IMAGES["PYTHON_IMAGE"]
    assert services["redis"]["image"] == IMAGES["REDIS_IMAGE"]
    assert services["postgres"]["image"] == IMAGES["POSTGRES_IMAGE"]
    others = {name: f"mirror.example/{image}" for name, image in IMAGES.items()}
    services = config("redis", **others)["services"]
    assert services["migrate"]["build"]["args"]["PYTHON_IMAGE"] == others["PYTHON_IMAGE"]
    assert services["redis"]["image"] == others["REDIS_IMAGE"]
    assert services["postgres"]["image"] == others["POSTGRES_IMAGE"]


@pytest.mark.parametrize("mode", ["local", "redis"])
def test_a_check_ends_before_the_engine_loses_patience_with_it(mode: str) -> None:
    for name, service in config(mode)["services"].items():
        if name in {"migrate", "postgres"}:  # the one has none; the other's ends by itself
            continue
        check = service["healthcheck"]
        (seconds,) = re.findall(r"\btimeout (\d+) ", check["test"][1])
        assert int(seconds) < int(check["timeout"].removesuffix("s"))


def test_both_modes_have_the_same_address() -> None:
    ports = [
        config(mode, HTTP_PORT="8123")["services"][name]["ports"]
        for mode, name in PRODUCERS.items()
    ]
    assert ports[0] == ports[1]
    ((port,), _) = ports
    assert (port["host_ip"], port["published"], port["target"]) == ("127.0.0.1", "8123", 8000)
