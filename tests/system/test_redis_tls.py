"""Redis over TLS, with an authority of one's own."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from tests.support.certificates import Authority
from tests.support.needs import needed
from tests.support.orderly import assert_one_line
from tests.support.scaled import Scaled, write_orders
from tests.support.servers.daemon import free_port
from tests.support.servers.redis_groups import Sentinel
from tests.support.servers.redis_server import RedisServer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.servers.postgres_server import Postgres


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    made = Authority(tmp_path)
    made.sign("server")
    made.sign("client")
    made.sign("stranger", "subjectAltName=DNS:elsewhere.example")
    return made


@pytest.fixture
def scaled(tmp_path: Path, postgres: Postgres) -> Iterator[Scaled]:
    """The services of redis mode; tests say which Redis."""
    needed("redis-server")
    command = Scaled(tmp_path, ledger_url=postgres.new_database(), redis_url="redis://nowhere")
    yield command
    command.close()


def settle(scaled: Scaled, url: str, orders: int = 200) -> None:
    scaled.environment["REDIS_URL"] = url
    file = write_orders(scaled.folder / "orders.jsonl", orders)
    assert scaled.json("run", file, "--workers", "1")["verified"] is True
    assert scaled.json("status")["queue_trouble"] is None


def test_an_authority_of_ones_own_vouches_for_the_server(
    scaled: Scaled, authority: Authority
) -> None:
    port = free_port()
    more = authority.settings(port, more="tls-auth-clients no")
    with closing(RedisServer(more=more)):
        settle(scaled, f"rediss://127.0.0.1:{port}/0?ssl_ca_certs=ca.pem")
        settle(scaled, f"rediss://localhost:{port}/0?ssl_cert_reqs=none")
        unknown = scaled("pay", REDIS_URL=f"rediss://127.0.0.1:{port}/0")
        assert_one_line(unknown, 3, f"queue rediss://127.0.0.1:{port}/0 ", "verify failed")
        (scaled.folder / "empty.pem").touch()
        empty = scaled("pay", REDIS_URL=f"rediss://127.0.0.1:{port}/0?ssl_ca_certs=empty.pem")
        assert_one_line(empty, 3, "no certificate")


def test_a_certificate_must_have_the_servers_name(scaled: Scaled, authority: Authority) -> None:
    port = free_port()
    more = authority.settings(port, "stranger", more="tls-auth-clients no")
    url = f"rediss://127.0.0.1:{port}/0?ssl_ca_certs=ca.pem"
    with closing(RedisServer(more=more)):
        assert_one_line(scaled("pay", REDIS_URL=url), 3, "certificate is not valid for")
        settle(scaled, f"{url}&ssl_check_hostname=false")


def test_a_server_may_ask_for_a_certificate(scaled: Scaled, authority: Authority) -> None:
    port = free_port()
    url = f"rediss://127.0.0.1:{port}/0?ssl_ca_certs=ca.pem"
    with closing(RedisServer(more=authority.settings(port))):
        # It may end the connection before its reason is heard: then it is asked again.
        refused = scaled("pay", REDIS_URL=url)
        assert refused.code == 3
        assert "certificate required" in refused.err.splitlines()[-1]
        settle(scaled, f"{url}&ssl_certfile=client.pem&ssl_keyfile=client.key")


def test_sentinels_and_their_servers_over_tls(scaled: Scaled, authority: Authority) -> None:
    port, own = free_port(), free_port()
    over_tls = "tls-auth-clients no\ntls-replication yes"
    with (
        closing(RedisServer(more=authority.settings(port, more=over_tls))),
        closing(Sentinel(port, "tills", authority.settings(own, more=over_tls))),
    ):
        settle(scaled, f"rediss+sentinel://127.0.0.1:{own}/tills/0?ssl_ca_certs=ca.pem")
