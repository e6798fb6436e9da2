"""Certificates for tests: an authority of their own, and whom it vouches for."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

from tests.support.needs import needed

if TYPE_CHECKING:
    from pathlib import Path

NAMES = "subjectAltName=DNS:localhost,IP:127.0.0.1"


class Authority:
    """Signs certificates; its own is in ``ca.pem``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._run("req", "-x509", *self._key("ca"), "-subj", "/CN=ours", "-out", "ca.pem")

    def sign(self, name: str, names: str = NAMES) -> None:
        """Make a key and a certificate, ``NAME.key`` and ``NAME.pem``."""
        own = "-CA", "ca.pem", "-CAkey", "ca.key", "-addext", names
        key = self._key(name)
        self._run("req", "-x509", *key, "-subj", f"/CN={name}", *own, "-out", f"{name}.pem")

    def _key(self, name: str) -> tuple[str, ...]:
        kind = "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"
        return *kind, "-keyout", f"{name}.key"

    def _run(self, *words: str) -> None:
        subprocess.run(
            [needed("openssl"), *words], cwd=self.folder, check=True, capture_output=True
        )

    def settings(self, port: int, name: str = "server", more: str = "") -> str:
        """Lines for a server that listens over TLS, too."""
        here = self.folder
        return (
            f"tls-port {port}\ntls-cert-file {here}/{name}.pem\ntls-key-file {here}/{name}.key\n"
            f"tls-ca-cert-file {here}/ca.pem\n{more}\n"
        )
