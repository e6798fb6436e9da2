"""Sends requests to a payment backend, and tells what was never sent from what may have come to it.

That line is what the client was chosen by: ``docs/decisions/0005-an-http-client.md``. A request is
sent once. Whether it is sent again is the order's fate, and not for a connection to decide.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import aiohttp
from yarl import URL

from services.payment.gateway import InDoubt, Unavailable
from shared.texts import of_error

if TYPE_CHECKING:
    import ssl
    from collections.abc import Mapping

    from services.payment.http_token import BearerToken

CONNECT_SECONDS = 1.0
"""How long it may take to find the host and to connect."""

TLS_SECONDS = 5.0
"""The same with TLS: hundreds of connections that begin at once take their processors' time."""

IDLE_SECONDS = 4.0
"""A connection that was idle for longer is not used again: many servers close theirs after five."""

ADDRESS_SECONDS = 1.0
"""How long an address is remembered: a backend that has moved is found soon."""

ANSWER_BYTES = 64 * 1024
"""A longer answer is not read to its end."""

_UNSENT = (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError, aiohttp.InvalidURL)
"""What is raised before a request is written, and at no other time."""

_HEADERS = {"Accept": "application/json", "Accept-Encoding": "identity"}


class Answer(NamedTuple):
    """What a backend has answered.

    Attributes:
        headers: Without regard to capitals.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes


class Client:
    """Calls one backend, over connections that are kept; make it in the loop that uses it.

    Args:
        url: Where the backend's paths begin.
        token: What is shown as ours; read again while connections come and go.
        tls: How its certificate is held against what we know; None for plain HTTP.
    """

    def __init__(self, url: str, token: BearerToken, tls: ssl.SSLContext | None) -> None:
        self._url = url
        self._token = token
        # Calls are limited by who makes them: a limit here would have some wait for a connection.
        self._patience = CONNECT_SECONDS if tls is None else TLS_SECONDS
        connector = aiohttp.TCPConnector(
            limit=0,
            ttl_dns_cache=int(ADDRESS_SECONDS),
            keepalive_timeout=IDLE_SECONDS,
            ssl=True if tls is None else tls,
        )
        self._session = aiohttp.ClientSession(
            connector=connector,
            # When to give up is for the caller to say, who hears late answers, too.
            timeout=aiohttp.ClientTimeout(total=None, connect=self._patience),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            trust_env=False,
            headers=_HEADERS,
        )

    async def post(self, path: str, body: bytes, headers: Mapping[str, str]) -> Answer:
        """Send a JSON document.

        Raises:
            Unavailable: Nothing was sent.
            InDoubt: It may have come to the backend, and there is no answer that can be read.
        """
        return await self._ask(
            "POST", path, {"Content-Type": "application/json", **headers}, ANSWER_BYTES, body
        )

    async def get(self, path: str, most: int = ANSWER_BYTES) -> Answer:
        """Ask for something that changes nothing; so it may be sent twice.

        Raises:
            Unavailable: Nothing was sent.
            InDoubt: There is no answer that can be read.
        """
        return await self._ask("GET", path, {"Cache-Control": "no-cache"}, most)

    async def close(self) -> None:
        """Close all connections."""
        await self._session.close()

    async def _ask(
        self,
        method: str,
        path: str,
        headers: Mapping[str, str],
        most: int,
        body: bytes | None = None,
    ) -> Answer:
        token = self._token.read()
        if token:
            headers = {**headers, "Authorization": f"Bearer {token}"}
        try:
            async with self._session.request(
                method,
                URL(self._url + path, encoded=True),
                data=body,
                headers=headers,
                allow_redirects=False,
            ) as response:
                answer = await _read(response, most)
        except _UNSENT as error:
            raise Unavailable(self._why_unconnected(error)) from None
        except (aiohttp.ClientError, OSError) as error:
            raise InDoubt(f"the backend gave no whole answer: {of_error(error)}") from None
        if answer.status in {401, 403}:
            self._token.forget()
        return answer

    def _why_unconnected(self, error: aiohttp.ClientError) -> str:
        if isinstance(error, aiohttp.ConnectionTimeoutError):
            return f"no connection to the backend within {self._patience:g} s"
        return f"no connection to the backend: {of_error(error)}"


async def _read(response: aiohttp.ClientResponse, most: int) -> Answer:
    body = bytearray()
    async for piece in response.content.iter_any():
        body += piece
        if len(body) > most:
            response.close()
            raise InDoubt(f"the answer (HTTP {response.status}) is longer than {most:,} bytes")
    return Answer(response.status, response.headers, bytes(body))
