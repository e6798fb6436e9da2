"""What PostgreSQL's errors mean: whose they are, whether waiting helps, what there is to do."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import psycopg

from shared.ledger.database.backend import REFUSES, Trouble
from shared.texts import legible

if TYPE_CHECKING:
    import sqlalchemy as sa

# A value that a column cannot hold (a text too long, a number too large, a character that there
# is not), or that breaks a constraint: nothing else is an order's fault. The rest of class 22 says
# that a statement of ours was not read as it was meant, and would convict every order.
_OF_THE_DATA = ("22001", "22003", "22021", "23")
# Nobody mends these by waiting: no access, no such database, schema or right, a URL that is wrong.
_LASTING = (
    *("28", "3D", "42", "3F", "0A", "TLS", "POOLER", "URL", "ROLE", "GRANT", "BROKEN", "ENCODING"),
)
# What lets nobody in comes without a state, and a pooler has one state for everything.
_STATELESS = (None, "08P01")
_SIGNS = {
    r"pg_hba.conf (entry|rejects) .*(no encryption|SSL off)|SSL required": "TLS WANTED",
    r"does not support SSL": "TLS MISSING",
    r"certificate|private key|SSL error": "TLS TRUST",
    r"is not permitted to log in": "ROLE",
    r"permission denied for database": "GRANT",
    r"database .* is not currently accepting connections": "55000 CLOSED",
    r"cannot connect to invalid database": "BROKEN",
    r"authentication failed|no password supplied|pg_hba.conf"
    r"|role .* does not exist|no such user": "28",
    r"database .* does not exist|no such database": "3D",
    r"too many clients|too many connections|connection slots"
    r"|no more connections allowed|query_wait_timeout": "53300",
    r"starting up|shutting down|in recovery mode|system is not (yet )?accepting": "57P03",
    r"unsupported startup parameter": "POOLER PARAMETER",
    r"transaction blocks not allowed": "POOLER MODE",
    r"invalid \S+ value: |invalid port|service .*not found|service file|unrecognized configuration"
    r"|invalid value for parameter|received invalid response": "URL",
}
# The first that fits is said.
_REMEDIES = {
    "TLS WANTED": "lets nobody in without TLS; say sslmode=require in LEDGER_URL",
    "TLS MISSING": "offers no TLS, which sslmode in LEDGER_URL insists on",
    "TLS TRUST": "shows or wants another certificate; see to sslmode and sslrootcert in LEDGER_URL",
    "POOLER PARAMETER": "is behind a pooler that does not take the options in LEDGER_URL; have it "
    "ignore them (ignore_startup_parameters): they are set in every transaction then",
    "POOLER MODE": "is behind a pooler that allows no transactions; set its pool_mode to "
    "transaction or session",
    "URL": "cannot be reached by this LEDGER_URL; see to it",
    "ROLE": "does not let this user log in; ALTER ROLE ... LOGIN allows it, or name another one in "
    "LEDGER_URL",
    "GRANT": "does not let this user in; GRANT CONNECT ON DATABASE ... TO the user allows it",
    "55000 CLOSED": "is closed to connections; ALTER DATABASE ... ALLOW_CONNECTIONS true opens it; "
    "it is tried again",
    "BROKEN": "was dropped halfway; drop the database, and restore a copy of it",
    "ENCODING": "is in a database that cannot hold every text; make another one with "
    "CREATE DATABASE ... ENCODING 'UTF8' TEMPLATE template0, and name that in LEDGER_URL",
    "28": "refuses the user or the password; see to LEDGER_URL and LEDGER_PASSWORD_FILE",
    **dict.fromkeys(_OF_THE_DATA, REFUSES),
    "22": "reads a statement otherwise than it is meant; see which settings ALTER ROLE or ALTER "
    "DATABASE has changed for this user, and which triggers were added",
    "3D": "has no such database; create it, or name another one in LEDGER_URL",
    "42501": "does not allow this user to do that; grant it the schema",
    "42P01": "is damaged, it lacks tables; restore a copy of it",
    "53300": "has too few connections; allow more (docs/scaled-out.md says how many are needed), "
    "in the server, for the role or the database (CONNECTION LIMIT), or in the pooler",
    "53": "has no resources left (connections, memory or disk); see to the server",
    "55P03": "is locked by somebody else for too long; look for a transaction that hangs",
    "57P03": "is starting or shutting down; it is tried again",
    "57": "was interrupted or is shutting down; it is tried again",
    "25006": "is read-only at present (a standby, or set so); it is tried again",
    "25P03": "ended a transaction that stood still; it is tried again",
    "58": "has trouble with its files; see to the server and its disk; it is tried again",
    "XX": "found an error of its own or damaged data; see to the server's log",
    "08": "cannot be reached; see whether the server runs",
    "40": "took another transaction first; it is tried again",
}
_MOST_WORDS = 300
_ADDRESSED = re.compile(r"^(- host: .*?, hostaddr: \S+: )?connection (failed|is bad): ")


class WrongEncoding(psycopg.OperationalError):
    """A database cannot hold every text, by the encoding that it was made with."""

    sqlstate = "ENCODING"


def diagnose(error: BaseException) -> Trouble:
    """Say whose an error of the driver is; what nobody knows is no order's fault."""
    state = _state(error)
    if state is None and _is_of_the_driver(error):
        return Trouble.OF_THE_DATA
    if state is not None and state.startswith(_OF_THE_DATA):
        return Trouble.OF_THE_DATA
    return Trouble.LASTING if state and state.startswith(_LASTING) else Trouble.PASSING


def has_refused(error: BaseException) -> bool:
    """Whether nothing was committed, for certain.

    After an ERROR the transaction is rolled back; a FATAL tells nothing.
    """
    diag = getattr(error, "diag", None)
    return diag is not None and diag.severity_nonlocalized == "ERROR"


def remedy(error: BaseException) -> str:
    """Say what an error means for the operator, and what the driver says; follows a name."""
    # Without a state it is the connection that failed, and not the server that answered.
    state = _state(error) or "08"
    known = next((what for sign, what in _REMEDIES.items() if state.startswith(sign)), None)
    said = _ADDRESSED.sub("", _first_line(error))[:_MOST_WORDS]
    if known is None:
        return f"answers with an error ({said}); see to the server"
    return f"{known} ({said})" if said else known


def hide_rows(context: sa.ExceptionContext) -> None:
    """Keep the first line alone of what the server says: the details behind it quote the row."""
    if getattr(context.original_exception, "sqlstate", None) is None:
        return
    for error in (context.original_exception, context.sqlalchemy_exception):
        if error is not None and error.args:
            error.args = (str(error.args[0]).partition("\n")[0], *error.args[1:])


def _state(error: BaseException) -> str | None:
    """Find an error's SQLSTATE, or what stands for one where the words tell more."""
    state: str | None = getattr(error, "sqlstate", None)
    if state in _STATELESS and isinstance(error, psycopg.OperationalError):
        said = _first_line(error)
        return next((each for sign, each in _SIGNS.items() if re.search(sign, said)), state)
    return state


def _first_line(error: BaseException) -> str:
    first, *others = str(error).strip().splitlines() or [""]
    # Where a name has several addresses, a server that answered says more than one that did not.
    answers = (each for each in [first, *others] if "FATAL:" in each)
    return legible(" ".join(next(answers, first).split()))


def _is_of_the_driver(error: BaseException) -> bool:
    """Whether the driver itself refused a value or a call, and no server was asked."""
    kinds = psycopg.DataError | psycopg.ProgrammingError | psycopg.NotSupportedError
    return isinstance(error, kinds)
