"""What is wrong with Redis, in one line for its operator: what it said, and what to do about it.

Whatever a command fails with, Redis counts as away. A few errors are not going to pass, and end a
service that starts.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from redis.exceptions import (
    AuthenticationError,
    ClusterCrossSlotError,
    MovedError,
    NoPermissionError,
    RedisClusterException,
    RedisError,
)

from shared.texts import legible

GRANT = "docs/scaled-out.md has the rule to grant"

_MOST = 300
# As redis-py puts it, with what the command carried: orders.
_OF_A_PIPELINE = re.compile(r"^Command # \d+ \(.*\) of pipeline caused error: ", re.DOTALL)
_REMEDIES = {
    "READONLY": "it is a replica; a failover under way ends that, else see to REDIS_URL",
    "MASTERDOWN": "it is a replica, and has lost its primary",
    "UNBLOCKED": "it has become a replica",
    "MISCONF": "it cannot save to its disk",
    "OOM": "it is full; see to its maxmemory",
    "NOREPLICAS": "too few of its replicas are there",
    "CLUSTERDOWN": "a part of the cluster is missing",
    "LOADING": "it is reading its data",
    "WRONGTYPE": "somebody has written to a key of ours; a running service deletes such a key "
    "within a second, and names it in its log",
    "BUSY": "somebody's script keeps it",
}
_LASTING = (
    "unknown command",
    "SELECT is not allowed in cluster mode",
    "DB index is out of range",
    "protected mode",
    "CERTIFICATE_VERIFY_FAILED",
    "certificate verify failed",
    "ertificate required",
    "[X509",
    "PEM lib",
)


class Diagnosis(NamedTuple):
    """Why Redis does not carry.

    Attributes:
        code: What kind of trouble it is; the same for the same.
        text: One line, with the remedy where there is one.
        is_lasting: Whether waiting will not help.
    """

    code: str
    text: str
    is_lasting: bool = False


def diagnose(error: Exception) -> Diagnosis:
    """Say what an error means that a command of Redis has failed with."""
    words = _said(error)
    code = words.partition(" ")[0]
    match error:
        case NoPermissionError():
            return Diagnosis(
                "NOPERM", f"allows its user too little ({words}); {GRANT}", is_lasting=True
            )
        case AuthenticationError():
            text = (
                "refuses the user or the password; see to REDIS_URL and REDIS_PASSWORD_FILE "
                f"({words})"
            )
            return Diagnosis("AUTH", text, is_lasting=True)
        case ClusterCrossSlotError():
            text = (
                f"keeps keys of one ledger apart ({words}); let REDIS_URL name a node of the "
                "cluster itself, or a Redis that is none"
            )
            return Diagnosis("CROSSSLOT", text, is_lasting=True)
        case MovedError():
            text = f"is a node of a cluster whose other nodes cannot be reached ({words})"
            return Diagnosis("MOVED", text)
        case RedisError() | RedisClusterException():
            return _of_a_server(code, words)
    return Diagnosis("REFUSED", f"answers what is no answer ({type(error).__name__}: {words})")


def _of_a_server(code: str, words: str) -> Diagnosis:
    for name, remedy in _REMEDIES.items():
        # An older server wraps what a script failed with.
        if code == name or f"-{name} " in words:
            return Diagnosis(name, f"{words}; {remedy}")
    is_lasting = any(each in words for each in _LASTING)
    return Diagnosis(code if code.isupper() else "AWAY", words, is_lasting=is_lasting)


def _said(error: Exception) -> str:
    """Take what the server said, its code included, which redis-py may have cut off."""
    text = " ".join(_OF_A_PIPELINE.sub("", str(error)).split()).rstrip(".")
    code = getattr(error, "status_code", None) or ""
    if code not in {"", "ERR"} and not text.startswith(code):
        text = f"{code} {text}"
    return legible(text or type(error).__name__, _MOST)
