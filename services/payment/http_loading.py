"""How a gateway over HTTP is made of the settings."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

from services.payment.http_gateway import HttpGateway
from services.payment.http_token import BearerToken
from services.payment.outside import OutsideGateway, read_traits
from shared.errors import ConfigurationError

if TYPE_CHECKING:
    from shared.settings import Settings


def over_http(settings: Settings, url: str) -> OutsideGateway:
    """Describe the gateway to a backend at a URL; it is made where its loop runs.

    Raises:
        ConfigurationError: The certificates cannot be used.
    """
    tls = _tls(settings) if url.startswith("https") else None

    def make() -> HttpGateway:
        from services.payment.http_client import Client  # noqa: PLC0415  slow to load

        # The bank has the token that this program itself is called with, if it has no other.
        ours = settings.api_token.get_secret_value() if settings.payment_gateway == "bank" else ""
        token = BearerToken(settings.gateway_token_file, ours)
        return HttpGateway(Client(url, token, tls))

    traits = read_traits(settings.payment_gateway, HttpGateway)
    return OutsideGateway(settings.payment_gateway, make, traits)


def _tls(settings: Settings) -> ssl.SSLContext:
    """Make what certificates are held against: those of the system, or those of a file alone."""
    path = settings.gateway_ca_file
    try:
        return ssl.create_default_context(cafile=path or None)
    except OSError as error:
        why = "no certificate is in it" if isinstance(error, ssl.SSLError) else error.strerror
        raise ConfigurationError(f"GATEWAY_CA_FILE={path!r} cannot be used: {why}") from None
