"""Who may call: by the names this service goes by, what browsers add to requests, and the token.

A page from elsewhere that a visitor's browser runs can send requests to 127.0.0.1. It is refused
by the Origin that browsers add, or by Sec-Fetch-Site where they add none; and one that made its own
name point here, by the Host.
"""

from __future__ import annotations

import hmac
import ipaddress
import re
import socket
from typing import TYPE_CHECKING

from services.http.problems import Problem
from shared.settings import parse_hosts, plain_host

if TYPE_CHECKING:
    from shared.settings import Settings

    Headers = dict[bytes, bytes]

SAFE_METHODS = {"GET", "HEAD", "OPTIONS"}
COSTLY = {"/verify"}
"""Paths that change nothing, and yet are not for everybody: what they do takes a processor."""

_LASTING = {"/events"}
_AUTHORITY = re.compile(r"(\[[0-9a-f:.]+\]|[a-z0-9._-]+)(:\d{1,5})?", flags=re.ASCII)
_ORIGIN = re.compile(rf"[a-z][a-z0-9+.-]*://{_AUTHORITY.pattern}", flags=re.ASCII)
_ELSEWHERE = {b"cross-site", b"same-site"}


class Callers:
    """Lets requests pass, or refuses them.

    Args:
        settings: Host, allowed names and token.
    """

    def __init__(self, settings: Settings) -> None:
        self._token = settings.api_token.get_secret_value().encode()
        self._allowed = parse_hosts(settings.http_allowed_hosts)
        own = settings.http_host.lower()
        self._names = {"localhost", socket.gethostname().lower(), own, *self._allowed}
        self._is_open = own in {"0.0.0.0", "::"}  # noqa: S104  compared, not bound

    def check(self, method: str, path: str, headers: Headers) -> None:
        """Refuse who may not call.

        Raises:
            Problem: With the remedy, where the caller has one.
        """
        host = headers.get(b"host", b"").decode("latin-1").lower()
        if not self._is_ours(host):
            why = f"this service is not called {host[:100]!r}"
            match = _AUTHORITY.fullmatch(host)
            raise Problem("foreign-host", why + (self._remedy(match[1]) if match else ""))
        origin = headers.get(b"origin")
        if origin is not None:
            self._check_origin(origin.decode("latin-1").lower(), host)
        else:
            _check_site(path, headers)
        if self._token and (method not in SAFE_METHODS or path in COSTLY):
            scheme, _, given = headers.get(b"authorization", b"").partition(b" ")
            if scheme.lower() != b"bearer" or not hmac.compare_digest(given, self._token):
                raise Problem("unauthorized", headers={"www-authenticate": "Bearer"})

    def _check_origin(self, origin: str, host: str) -> None:
        """Let pass a page that has this request's own address, or one of the allowed names."""
        if origin in {f"http://{host}", f"https://{host}"}:
            return
        match = _ORIGIN.fullmatch(origin)
        if match is None:
            raise Problem("foreign-origin")
        # A proxy may have changed the Host, the port and the scheme on the way here.
        if plain_host(match[1]) not in self._allowed:
            why = f"a page of {origin[:100]} may not do this"
            raise Problem("foreign-origin", why + self._remedy(match[1]))

    def _remedy(self, name: str) -> str:
        names = ",".join([*self._allowed, plain_host(name)])
        return f"; if that is this service's public name, set HTTP_ALLOWED_HOSTS={names}"[:300]

    def _is_ours(self, host: str) -> bool:
        match = _AUTHORITY.fullmatch(host)
        if match is None:
            return False
        name = plain_host(match[1])
        if name in self._names:
            return True
        try:
            address = ipaddress.ip_address(name)
        except ValueError:
            return False
        # An address cannot be made to point here by somebody else's name server.
        return address.is_loopback or self._is_open


def _check_site(path: str, headers: Headers) -> None:
    """Refuse what a page from elsewhere loads, as pictures, frames or scripts; not what it links.

    Browsers send no Origin with these, and say where they come from.
    """
    if headers.get(b"sec-fetch-site", b"").lower() not in _ELSEWHERE:
        return
    is_link = headers.get(b"sec-fetch-dest", b"").lower() == b"document"
    if not is_link or path in COSTLY | _LASTING:
        raise Problem("foreign-origin", "a page from elsewhere may not load this")
