"""A payment backend over HTTPS, whose certificate an authority of one's own has signed."""

from __future__ import annotations

import ssl
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from tests.support.certificates import Authority
from tests.support.eventually import eventually
from tests.support.raw_backend import RawBackend
from tests.support.scripted import orders_file

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.orderly import Orderly


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    made = Authority(tmp_path)
    made.sign("server")
    made.sign("stranger", "subjectAltName=DNS:elsewhere.example")
    return made


def speaking(authority: Authority, name: str) -> RawBackend:
    """Start a backend that shows a certificate."""
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(authority.folder / f"{name}.pem", authority.folder / f"{name}.key")
    return RawBackend(tls)


def test_an_authority_of_ones_own_vouches_for_the_backend(
    orderly: Orderly, authority: Authority
) -> None:
    with closing(speaking(authority, "server")) as backend:
        orderly.environment |= {
            "PAYMENT_GATEWAY": backend.url,
            "GATEWAY_CA_FILE": str(authority.folder / "ca.pem"),
        }
        orders = [(f"o{number}.cut", f"c{number}") for number in range(30)]
        report = orderly.json("run", orders_file(orderly.folder, orders))
        assert (report["paid"], report["verified"]) == (30, True)
        assert {backend.charged(name) for name, _ in orders} == {1}


@pytest.mark.parametrize(
    ("certificate", "vouches"),
    [("server", False), ("stranger", True)],
    ids=["whom nobody vouches for", "who has another name"],
)
def test_nothing_is_sent_to_somebody(
    orderly: Orderly, authority: Authority, certificate: str, *, vouches: bool
) -> None:
    with closing(speaking(authority, certificate)) as backend:
        orderly.environment["PAYMENT_GATEWAY"] = backend.url
        if vouches:
            orderly.environment["GATEWAY_CA_FILE"] = str(authority.folder / "ca.pem")
        running = orderly.start("run", orders_file(orderly.folder, [("a", "ada")]))
        eventually(orderly.accepted, within=20, what="an order")
        eventually(lambda: orderly.json("status")["gateway_away"], within=20, what="it is noticed")
        running.kill()
        _, said = running.communicate()
        assert "certificate" in said
        assert not backend.asked
        assert orderly.json("status")["in_doubt"] == 0
