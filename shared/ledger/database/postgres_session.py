"""Sessions with PostgreSQL: what the URL says, what is set in them, whether a pooler shares them.

Behind a pooler a session is lent for a transaction, and whatever is set in it stays for the next
client: there, each transaction sets for itself what it needs, and nothing is prepared.
"""

from __future__ import annotations

import difflib
import re
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import parse_qs, urlsplit

import psycopg
from psycopg.conninfo import conninfo_to_dict

from shared.errors import ConfigurationError
from shared.ledger.database.postgres_errors import WrongEncoding
from shared.passwords import mask_password

if TYPE_CHECKING:
    from collections.abc import Mapping

    import sqlalchemy as sa
    from psycopg.abc import AdaptContext

APPLICATION = "orderly"

# A worker that is frozen or cut off in mid-transaction holds others up for seconds at most.
WRITING = {
    "lock_timeout": "5s",
    "statement_timeout": "15s",
    "idle_in_transaction_session_timeout": "3s",
}
# Readers hold nobody up, and a proof of a large ledger takes its time, as does who reads a journal.
READING = {
    "lock_timeout": "5s",
    "statement_timeout": "0",
    "idle_in_transaction_session_timeout": "0",
}

# What LEDGER_URL says comes first.
_DEFAULTS = {
    "keepalives_idle": "5",
    "keepalives_interval": "2",
    "keepalives_count": "3",
    "tcp_user_timeout": "10000",
    "connect_timeout": "5",
}
_SERVER_KEEPALIVES = {
    "tcp_keepalives_idle": "5",
    "tcp_keepalives_interval": "2",
    "tcp_keepalives_count": "3",
}
_ENCODING = "UTF8"
# A role, a database and the URL's options may have these otherwise: our statements, and the texts
# in them, would be read as something else. And every statement is planned for the tables as they
# are: a plan that was kept from when they were empty reads all of a table for each value that is
# asked for, and then intake stood still until somebody had analysed the table.
_MEANT = {
    "array_nulls": "on",
    "client_encoding": _ENCODING,
    "plan_cache_mode": "force_custom_plan",
}
# Would end sessions and transactions that are well. Not every version of the server knows them.
_ENDLESS = {"idle_session_timeout": "0", "transaction_timeout": "0"}
_IS_KNOWN = (
    f"(name NOT IN ({', '.join(map(repr, _ENDLESS))}) OR current_setting(name, true) IS NOT NULL)"
)
_DURABLE = "synchronous_commit"
# What a database or a role has set holds, but for the one value with which a crash of the server
# loses what was acknowledged. Set at any rate, so that no change of the server's files can follow.
_IS_DURABLE = f"coalesce(nullif(current_setting('{_DURABLE}'), 'off'), 'on')"
_HAZARD = (
    "(SELECT string_agg(name || '=off', ', ') FROM (VALUES ('fsync'), ('full_page_writes'))"
    " AS careful (name) WHERE current_setting(name) = 'off')"
)


class Session(NamedTuple):
    """A new session.

    Attributes:
        connection: The driver's.
        begin: What each transaction begins with; the driver begins none.
        is_shared: Whether a pooler lends the session to others between transactions.
        hazard: Which settings of the server lose commits in a power cut, if any.
    """

    connection: psycopg.Connection[Any]
    begin: str
    is_shared: bool
    hazard: str | None


def _meant(said: str) -> str:
    """Name the parameter that one which there is not may have been meant to be."""
    match = re.search(r'invalid URI query parameter: "(\w+)"', said)
    if match is None:
        return ""
    if match[1].lower() in {"ssl", "tls", "sslrequired"}:
        return "; meant is perhaps sslmode=require"
    names = [each.keyword.decode() for each in psycopg.pq.Conninfo.get_defaults()]
    likely = difflib.get_close_matches(match[1].lower(), names, n=1)
    return f"; meant is perhaps {likely[0]}" if likely else ""


def parameters_of(url: str) -> dict[str, Any]:
    """Read a URL as libpq does.

    Raises:
        ConfigurationError: It cannot be read, or has a parameter that there is not.
    """
    try:
        found = conninfo_to_dict(url)
    except psycopg.ProgrammingError as error:
        # A piece of a password with unescaped characters would look like another parameter.
        is_open = "password=" not in urlsplit(url).query.lower()
        said = str(error).strip().partition("\n")[0] if is_open else "its query cannot be read"
        raise ConfigurationError(
            f"LEDGER_URL={mask_password(url)!r}: {said}{_meant(said)}"
        ) from None
    hosts = parse_qs(urlsplit(url).query).get("host", [])
    if len(hosts) > 1:  # as SQLAlchemy's URLs have several
        names, ports = zip(*(_host_and_port(host) for host in hosts), strict=True)
        found |= {"host": ",".join(names)} | ({"port": ",".join(ports)} if any(ports) else {})
    return _DEFAULTS | found | {"application_name": APPLICATION, "client_encoding": _ENCODING}


def _host_and_port(text: str) -> tuple[str, str]:
    host, mark, port = text.rpartition(":")
    return (host, port) if mark and port.isdigit() else (text, "")


def open_session(
    parameters: Mapping[str, Any],
    settings: Mapping[str, str],
    *,
    is_for_reading: bool = False,
    context: AdaptContext | None = None,
) -> Session:
    """Connect, and see to it that the settings are in force: in the session, if it is ours alone.

    Args:
        parameters: Where to, as ``parameters_of`` found it.
        settings: The server's, with their values; those that the URL's ``options`` name are left.
        is_for_reading: Whether each transaction has one snapshot and may write nothing.
        context: How the driver turns values into Python's.

    Raises:
        psycopg.OperationalError: The server, or a pooler, cannot be reached or refuses, or the
            database cannot hold every text.
    """
    connection = psycopg.connect(**parameters, context=context, autocommit=True)
    try:
        return _settle_in(connection, settings, is_for_reading=is_for_reading)
    except BaseException:
        connection.close()
        raise


def _settle_in(
    connection: psycopg.Connection[Any], settings: Mapping[str, str], *, is_for_reading: bool
) -> Session:
    theirs = options_of(connection.info.options)
    settings = {**_MEANT, **_ENDLESS, **settings}
    ours = {name: value for name, value in settings.items() if name not in theirs}
    # libpq knows the process that answered: a pooler, if it is not the one that works for us.
    pid = connection.info.backend_pid
    setting = _setting(ours | _SERVER_KEEPALIVES, where=f"pg_backend_pid() = {pid}")
    looking = connection.execute(
        f"SELECT pg_backend_pid(), {_HAZARD}, getdatabaseencoding(), ({setting})".encode()
    )
    ((found, hazard, encoding, _),) = looking.fetchall()
    if encoding != _ENCODING:
        raise WrongEncoding(f"its encoding is {encoding}")
    level = psycopg.IsolationLevel.READ_COMMITTED
    if is_for_reading:
        level = psycopg.IsolationLevel.REPEATABLE_READ
    words = f"BEGIN ISOLATION LEVEL {level.name.replace('_', ' ')}"
    words += " READ ONLY" if is_for_reading else ""
    if found == pid:
        return Session(connection, words, is_shared=False, hazard=hazard)
    connection.prepare_threshold = None
    # The pooler may have dropped the URL's options: they are set with the rest.
    words += f"; {_setting(ours | theirs, is_local=True)}"
    connection.execute(words.encode())  # not every pooler allows it
    connection.execute("ROLLBACK")
    return Session(connection, words, is_shared=True, hazard=hazard)


def begin(connection: sa.Connection, asking: str = "") -> None:
    """Begin a transaction, as its session wants it; keep what is asked for at once."""
    # Past SQLAlchemy, since it is done with every transaction; what is lost has to be told to it.
    driver: Any = connection.connection.dbapi_connection
    try:
        cursor = driver.execute((connection.info["begin"] + asking).encode(), prepare=False)
    except psycopg.Error as error:
        if driver.closed:
            connection.invalidate(error)
        raise
    while cursor.nextset():
        pass
    row = cursor.fetchone() if asking else None
    connection.info["ledger_id"] = row[0] if row else None


def _setting(settings: Mapping[str, str], *, is_local: bool = False, where: str = "true") -> str:
    """Write a SELECT that sets: for the transaction, or for the session."""
    rows = [f"({_quoted(name)}, {_quoted(value)})" for name, value in settings.items()]
    rows = [f"('{_DURABLE}', {_IS_DURABLE})", *rows]
    how = str(is_local).lower()
    return (
        f"SELECT count(set_config(name, value, {how}))"  # noqa: S608  quoted above
        f" FROM (VALUES {', '.join(rows)}) AS ours (name, value) WHERE {where} AND {_IS_KNOWN}"
    )


def _quoted(text: str) -> str:
    """Quote a text, in the one way that no setting changes the meaning of."""
    return " E'" + text.replace("\\", "\\\\").replace("'", "''") + "'"


def options_of(text: str) -> dict[str, str]:
    r"""Read ``options`` as a server does: ``-c name=value --name=value``, ``\`` before a blank."""
    words = iter([re.sub(r"\\(.)", r"\1", word) for word in re.findall(r"(?:\\.|\S)+", text)])
    found: dict[str, str] = {}
    for word in words:
        setting = next(words, "") if word == "-c" else word.removeprefix("-c")
        name, mark, value = setting.removeprefix("--").partition("=")
        if mark:
            found[name.replace("-", "_").lower()] = value
    for name in (_DURABLE, *_MEANT):
        found.pop(name, None)
    return found
