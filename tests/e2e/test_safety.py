"""What a container may do, who can reach it, and where its passwords are not."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.orderly import ROOT
from tests.support.stack import LASTING, SERVICES, Stack

if TYPE_CHECKING:
    from collections.abc import Iterator

PAIRS = [(mode, service) for mode, services in SERVICES.items() for service in services]
RUNNING = [(mode, service) for mode, services in LASTING.items() for service in services]


EACH = pytest.mark.parametrize(("owner", "service"), PAIRS, indirect=["owner"])
EACH_RUNNING = pytest.mark.parametrize(("owner", "service"), RUNNING, indirect=["owner"])


def passwords(stack: Stack) -> list[str]:
    names = ("redis_password", "ledger_password")
    return [(stack.secrets / name).read_text() for name in names]


@EACH
def test_a_container_has_no_right_that_it_does_not_need(owner: Stack, service: str) -> None:
    for each in owner.inspect(service):
        host = each["HostConfig"]
        assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", each["Config"]["User"])
        assert host["ReadonlyRootfs"] is True
        assert host["CapDrop"] == ["ALL"]
        assert not host["CapAdd"]
        assert host["SecurityOpt"] == ["no-new-privileges:true"]
        assert host["Privileged"] is False
        assert host["Init"] is True
        assert 0 < host["Memory"] <= 2 * 2**30
        assert 0 < host["PidsLimit"] <= 400
        assert host["LogConfig"]["Config"] == {"max-size": "10m", "max-file": "3"}


@EACH_RUNNING
def test_the_kernel_agrees(owner: Stack, service: str) -> None:
    status = owner.inside(service, "cat", "/proc/self/status").out
    found = dict(re.findall(r"^(\w+):\s+(.*)$", status, flags=re.MULTILINE))
    assert "0" not in found["Uid"].split()
    assert found["CapEff"] == found["CapBnd"] == "0" * 16
    assert found["NoNewPrivs"] == "1"
    refused = owner.inside(service, "touch", "/usr/a-file")
    assert refused.code != 0
    assert "Read-only file system" in refused.err


@EACH_RUNNING
def test_it_is_healthy_and_stays_up(owner: Stack, service: str) -> None:
    for each in owner.inspect(service):
        assert each["State"]["Health"]["Status"] == "healthy"
        assert each["RestartCount"] == 0
        assert each["HostConfig"]["RestartPolicy"]["Name"] == "unless-stopped"
        assert each["Config"]["StopTimeout"] >= 30


@EACH
def test_only_the_producer_is_published_and_on_this_machine_alone(
    owner: Stack, service: str
) -> None:
    for each in owner.inspect(service):
        bindings = each["HostConfig"]["PortBindings"]
        if service == owner.producer:
            assert bindings == {"8000/tcp": [{"HostIp": "127.0.0.1", "HostPort": str(owner.port)}]}
        else:
            assert bindings == {}
            assert not any(each["NetworkSettings"]["Ports"].values())


def test_the_published_port_listens_on_the_loopback_address_alone(stack: Stack) -> None:
    assert list(listening(stack.port)) == ["0100007F"]


def listening(port: int) -> Iterator[str]:
    """List the addresses on which this machine listens at a port, as the kernel writes them."""
    for table in ("tcp", "tcp6"):
        for line in Path("/proc/net", table).read_text().splitlines()[1:]:
            address, state = line.split()[1], line.split()[3]
            if state == "0A" and int(address.split(":")[1], 16) == port:
                yield address.split(":")[0]


def test_redis_and_postgresql_are_on_a_network_of_the_containers_alone(redis_stack: Stack) -> None:
    network = f"{redis_stack.project}_backend"
    for service in ("redis", "postgres", "migrate", "payment"):
        for each in redis_stack.inspect(service):
            assert list(each["NetworkSettings"]["Networks"]) == [network]
    (found,) = redis_stack.docker("network", "inspect", network).json
    assert found["Internal"] is True
    # This machine has no address on it, and so no way in.
    (subnet,) = (each["Subnet"] for each in found["IPAM"]["Config"])
    assert not [line for line in routes() if line == subnet.split("/")[0]]


def routes() -> Iterator[str]:
    """List the networks to which this machine has a way."""
    for line in Path("/proc/net/route").read_text().splitlines()[1:]:
        raw = bytes.fromhex(line.split()[1])
        yield ".".join(str(byte) for byte in reversed(raw))


def test_redis_and_postgresql_ask_for_their_passwords(redis_stack: Stack) -> None:
    said = redis_stack.inside("redis", "redis-cli", "ping")
    assert "NOAUTH" in said.out + said.err
    wrong = [
        "env",
        "PGPASSWORD=wrong",
        "psql",
        "-h",
        "127.0.0.1",
        "-U",
        "orderly",
        "-c",
        "SELECT 1",
    ]
    refused = redis_stack.inside("postgres", *wrong)
    assert refused.code != 0
    assert "password authentication failed" in refused.err


def test_the_services_are_no_superuser_of_postgresql_and_nobody_can_become_one(
    redis_stack: Stack,
) -> None:
    assert redis_stack.query("SELECT current_user, rolname FROM pg_roles WHERE rolsuper") == [
        ("orderly", "postgres")
    ]
    assert redis_stack.query(
        "SELECT rolcreaterole, rolcreatedb, rolreplication, rolbypassrls"
        " FROM pg_roles WHERE rolname = current_user"
    ) == [(False, False, False, False)]
    # By its name on the network: some images trust whoever comes from inside the container.
    program = "PGPASSWORD=$(cat /run/secrets/ledger_password) psql -h postgres -c 'SELECT 1' -U "
    assert redis_stack.inside("postgres", "sh", "-c", f"{program} orderly").code == 0
    refused = redis_stack.inside("postgres", "sh", "-c", f"{program} postgres")
    assert refused.code != 0
    assert "password authentication failed" in refused.err


def in_redis(stack: Stack, command: str) -> str:
    program = f"REDISCLI_AUTH=$(cat /run/secrets/redis_password) exec redis-cli {command}"
    return stack.inside("redis", "sh", "-c", program).out


@pytest.mark.parametrize(
    "command", ["config get '*'", "module list", "replicaof 192.0.2.1 6379", "acl list", "shutdown"]
)
def test_the_services_may_not_set_redis_up_otherwise(redis_stack: Stack, command: str) -> None:
    assert "NOPERM" in in_redis(redis_stack, command)


def test_redis_keeps_what_it_has_and_refuses_what_it_cannot_keep(redis_stack: Stack) -> None:
    found = dict(re.findall(r"^(\w+):(\S+)", in_redis(redis_stack, "info"), flags=re.MULTILINE))
    assert found["aof_enabled"] == "1"
    assert found["maxmemory_policy"] == "noeviction"
    assert 0 < int(found["maxmemory"]) < redis_stack.inspect("redis")[0]["HostConfig"]["Memory"]


def test_a_password_is_in_its_file_and_nowhere_else(redis_stack: Stack) -> None:
    places = {"compose config": redis_stack.compose("config").out}
    for service in SERVICES["redis"]:
        places[f"inspect {service}"] = json.dumps(redis_stack.inspect(service))
        places[f"logs {service}"] = redis_stack.compose("logs", service).out
        for each in redis_stack.ids(service):
            places[f"processes of {service}"] = redis_stack.docker("top", each, "axww").out
    image = redis_stack.environment["ORDERLY_IMAGE"]
    places["history"] = redis_stack.docker("history", "--no-trunc", image).out
    places["image"] = redis_stack.docker("image", "inspect", image).out
    assert all(places.values())
    assert len(set(passwords(redis_stack))) == 2
    for password in passwords(redis_stack):
        assert len(password) >= 32
        assert [place for place, text in places.items() if password in text] == []


def test_the_files_of_passwords_are_for_their_owner_and_the_containers(redis_stack: Stack) -> None:
    folder = redis_stack.secrets
    assert folder.stat().st_mode & 0o777 == 0o700
    assert {path.name for path in folder.iterdir()} == {
        "redis_password",
        "redis.conf",
        "ledger_password",
        "bank_token",
    }
    assert ".secrets/\n" in (ROOT / ".gitignore").read_text()


def test_the_image_has_what_it_needs_and_no_more(stack: Stack) -> None:
    look = "import sys; print(sys.prefix); import pip"
    found = stack.python(stack.producer, look)
    assert found.out == "/opt/orderly\n"
    assert "No module named 'pip'" in found.err
    listing = "ls -A /orderly /orderly/examples; ls /src"
    listed = stack.inside(stack.producer, "sh", "-c", listing).out
    assert "journey-orders.csv" in listed
    for name in ("tests", ".git", ".secrets", "Makefile", "shared"):
        assert name not in listed.split()
    where = "import shared; print(shared.__file__)"
    assert stack.python(stack.producer, where).out.startswith("/opt/orderly/lib/")


def test_the_image_says_what_it_is(local_stack: Stack) -> None:
    result = local_stack.docker("image", "inspect", local_stack.environment["ORDERLY_IMAGE"])
    config: dict[str, Any] = result.json[0]["Config"]
    assert config["User"] == "10001:10001"
    assert config["Entrypoint"] == ["orderly"]
    assert config["Healthcheck"]["Test"] == ["CMD", "orderly", "healthcheck", "serve"]
    assert "PYTHONUNBUFFERED=1" in config["Env"]
    assert config["Labels"]["org.opencontainers.image.title"] == "Orderly"
