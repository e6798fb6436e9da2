"""How Redis is reached: one server, the primary that Sentinels name, or a cluster.

What a server is comes out when it is asked. On a cluster, RQ's keys lie where their names put them,
so its transactions become plain pipelines there: what that may lose or repeat, the journal knows.
"""

from __future__ import annotations

import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import redis
from redis.backoff import NoBackoff
from redis.connection import ConnectionPool, SSLConnection, UnixDomainSocketConnection
from redis.credentials import CredentialProvider
from redis.exceptions import AskError, ClusterCrossSlotError, ReadOnlyError, RedisError
from redis.retry import Retry
from redis.sentinel import Sentinel
from typing_extensions import override

from shared.passwords import PasswordFile
from shared.redis_urls import RedisUrl, parse_redis_url

if TYPE_CHECKING:
    from collections.abc import Callable

ANSWER_SECONDS = 2.0
"""How long to wait for an answer of Redis."""

FAILURES = (RedisError, redis.RedisClusterException)
"""What a command raises that Redis, or what is in front of it, does not do."""

SENTINEL_SECONDS = 1.0
"""How long to wait for one of a Sentinel: there may be several to ask."""

# In two slots, so that a transaction with both says whether slots matter.
_SLOTS = ("orderly:{a}:slot", "orderly:{b}:slot")


def connect(
    url: str, password_file: str = "", *, patience: float = ANSWER_SECONDS, is_loose: bool = False
) -> redis.Redis:
    """Prepare to talk to a server; the first command connects.

    Args:
        url: Where it is, or its Sentinels.
        password_file: Where its password is, for each new connection anew; empty if in the URL.
        patience: Seconds that an answer may take.
        is_loose: Whether to use pipelines in place of transactions.
    """
    where = parse_redis_url(url)
    client = _LooseRedis if is_loose else redis.Redis
    options = _options(where, password_file, patience)
    if where.service:
        sentinels: Any = Sentinel
        asking = sentinels(where.hosts, sentinel_kwargs=_sentinel_options(where), **options)
        made: redis.Redis = asking.master_for(where.service, client)
        return made
    if where.path:
        return client.from_pool(
            ConnectionPool(connection_class=UnixDomainSocketConnection, path=where.path, **options)
        )
    host, port = where.hosts[0]
    if options.pop("ssl", False):
        options["connection_class"] = SSLConnection
    return client.from_pool(ConnectionPool(host=host, port=port, **options))


class RedisConnection:
    """A connection to Redis that fits what Redis turns out to be, made when it is first needed.

    Args:
        url: Where Redis is.
        password_file: Where its password is; empty if in the URL.
        patience: Seconds that an answer may take.
    """

    def __init__(
        self, url: str, password_file: str = "", *, patience: float = ANSWER_SECONDS
    ) -> None:
        self._connect: Callable[..., redis.Redis] = lambda **options: connect(
            url, password_file, patience=patience, **options
        )
        self._place = parse_redis_url(url)
        self._password_file = password_file
        self._patience = patience
        self._connection: Any = None
        self._is_doubtful = True
        self._lock = threading.Lock()

    @property
    def is_open(self) -> bool:
        """Whether it is known what to talk to."""
        return self._connection is not None and not self._is_doubtful

    def open(self) -> Any:  # noqa: ANN401  a client of one server or of a cluster
        """Return the connection; a new one if what was there is not what it was.

        Raises:
            RedisError: Redis is away.
        """
        if self.is_open:
            return self._connection
        with self._lock:
            if not self.is_open:
                self._renew()
            return self._connection

    def mend(self, error: Exception | None = None) -> None:
        """After an error, connect anew with the next command: a name may lead elsewhere by now."""
        if self._connection is None:
            return
        is_cluster = isinstance(self._connection, redis.RedisCluster)
        self._is_doubtful = is_cluster or isinstance(error, (AskError, ClusterCrossSlotError))
        with suppress(RedisError, OSError):
            if is_cluster:
                self._connection.disconnect_connection_pools()
            else:
                self._connection.connection_pool.disconnect(inuse_connections=False)

    def close(self) -> None:
        """Let go of it."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _renew(self) -> None:
        try:
            fresh = self._reach()
        except FAILURES:
            if self._connection is None:
                raise
            return  # the node that the URL names may be the one that has gone
        old, self._connection, self._is_doubtful = self._connection, fresh, False
        if old is not None:
            old.close()

    def _reach(self) -> Any:  # noqa: ANN401
        plain = self._connect()
        try:
            with plain.pipeline() as transaction:
                for key in _SLOTS:
                    transaction.exists(key)
                transaction.execute()
        except (AskError, ClusterCrossSlotError):
            pass
        except BaseException:
            plain.close()
            raise
        else:
            return plain
        # Some only divide their keys into slots, behind one address.
        with plain:
            mode = plain.info("server").get("redis_mode")
        if mode != "cluster" or self._place.path:
            return self._connect(is_loose=True)
        return _reach_cluster(self._place, self._password_file, self._patience)


class _Loose:
    """Pipelines in place of transactions."""

    def pipeline(self, transaction: Any = None, shard_hint: Any = None) -> Any:  # noqa: ANN401
        """Make a pipeline, even where a transaction is asked for."""
        del transaction
        return super().pipeline(transaction=False, shard_hint=shard_hint)  # type: ignore[misc]


class _LooseRedis(_Loose, redis.Redis):
    """One address, in front of keys that lie apart."""


class _LooseCluster(_Loose, redis.RedisCluster):
    """A whole cluster, each key where its slot is."""


def is_loose(connection: Any) -> bool:  # noqa: ANN401
    """Whether keys lie apart, so that what belongs together does not come together."""
    return isinstance(connection, _Loose)


class _FromFile(CredentialProvider):
    """Has the password's file read for each connection."""

    def __init__(self, path: str, username: str, password: str) -> None:
        self._username = username
        self._password = PasswordFile(path, password)

    @override
    def get_credentials(self) -> tuple[str] | tuple[str, str]:
        """Return what to show at the entrance."""
        password = self._password.read()
        return (self._username, password) if self._username else (password,)


def _options(url: RedisUrl, password_file: str, patience: float) -> dict[str, Any]:
    options: dict[str, Any] = _common(patience) | {"db": url.db}
    if url.is_tls:
        options |= {"ssl": True, **url.tls}
    if "protocol" in url.options:
        options["protocol"] = int(url.options["protocol"])
    return options | _credentials(password_file, url.username, url.password)


def _common(patience: float) -> dict[str, Any]:
    return {
        "socket_timeout": patience,
        "socket_connect_timeout": patience,
        "socket_keepalive": True,
        # Once more, since a connection may have been closed while it was not used, or lead to a
        # primary that is none any more; but not where an answer is missing: a server that is
        # frozen would cost that time twice.
        "retry": Retry(NoBackoff(), 1, supported_errors=(redis.ConnectionError, ReadOnlyError)),
    }


def _credentials(path: str, username: str, password: str) -> dict[str, Any]:
    if path:
        return {"credential_provider": _FromFile(path, username, password)}
    found = {"username": username, "password": password}
    return {name: value for name, value in found.items() if value}


def _sentinel_options(url: RedisUrl) -> dict[str, Any]:
    options = _common(SENTINEL_SECONDS) | {"retry": Retry(NoBackoff(), 0)}
    if url.is_tls:
        options |= {"ssl": True, **url.tls}
    said = url.options
    return options | _credentials(
        said.get("sentinel_password_file", ""),
        said.get("sentinel_username", ""),
        said.get("sentinel_password", ""),
    )


def _reach_cluster(url: RedisUrl, password_file: str, patience: float) -> redis.RedisCluster:
    host, port = url.hosts[0]
    options = _options(url, password_file, patience)
    del options["db"]  # a cluster has but one
    # Each command of a pipeline would be tried again by itself, with a wait before it.
    options["retry"] = Retry(NoBackoff(), 0)
    return _LooseCluster(host=host, port=port, require_full_coverage=False, **options)
