"""URLs of Redis: the forms there are, taken apart and held to what can be meant.

One server by ``redis://``, over TLS by ``rediss://``, on a socket by ``unix://``; the primary that
Sentinels name by ``redis+sentinel://`` and ``rediss+sentinel://``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, unquote, urlsplit

FORMS = (
    "redis://127.0.0.1:6379/0, rediss://HOST, unix:///PATH or "
    "redis+sentinel://HOST:26379,HOST:26379/NAME/0"
)
_SCHEMES = {
    "redis": 6379,
    "rediss": 6379,
    "unix": 0,
    "redis+sentinel": 26379,
    "rediss+sentinel": 26379,
}
_TLS_FILES = ("ssl_ca_certs", "ssl_ca_path", "ssl_certfile", "ssl_keyfile")
_OPTIONS = {
    "any": {"db", "username", "password", "protocol"},
    "tls": {*_TLS_FILES, "ssl_password", "ssl_check_hostname", "ssl_cert_reqs"},
    "sentinel": {"sentinel_username", "sentinel_password", "sentinel_password_file"},
}
_YES_OR_NO = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}


@dataclass(frozen=True)
class RedisUrl:
    """What a URL says.

    Attributes:
        scheme: One of the five.
        hosts: Names and ports; of a Sentinel URL the Sentinels'.
        path: The socket's, of a ``unix://`` URL.
        service: What Sentinels call the primary.
        db: The number of the database.
        username: Who comes; empty for the default user.
        password: The password; empty for none.
        options: What is said behind the question mark, and not above.
    """

    scheme: str
    hosts: tuple[tuple[str, int], ...] = ()
    path: str = ""
    service: str = ""
    db: int = 0
    username: str = ""
    password: str = ""
    options: dict[str, str] = field(default_factory=dict)

    @property
    def is_tls(self) -> bool:
        """Whether all that is said is encrypted."""
        return self.scheme.startswith("rediss")

    @property
    def tls(self) -> dict[str, str | bool]:
        """How certificates are shown and held against, by redis-py's names."""
        found: dict[str, str | bool] = {
            name: value for name, value in self.options.items() if name in _OPTIONS["tls"]
        }
        if "ssl_check_hostname" in found:
            found["ssl_check_hostname"] = _YES_OR_NO[self.options["ssl_check_hostname"].lower()]
        return found

    @property
    def files(self) -> dict[str, str]:
        """The files and folders that it names, by the option that does."""
        names = (*_TLS_FILES, "sentinel_password_file")
        return {name: self.options[name] for name in names if name in self.options}


def parse_redis_url(text: str) -> RedisUrl:
    """Take a URL apart.

    Raises:
        ValueError: Says what it may be instead, in words that follow the URL.
    """
    try:
        parts = urlsplit(text)
        username, password = unquote(parts.username or ""), unquote(parts.password or "")
    except ValueError:
        raise _strange() from None
    scheme = parts.scheme
    if scheme not in _SCHEMES or (parts.path if scheme == "unix" else parts.netloc) == "":
        raise _strange()
    options = _options(scheme, parts.query)
    path = unquote(parts.path)
    names = [] if scheme == "unix" else [name for name in path.split("/") if name]
    service = _service(names) if scheme.endswith("sentinel") else ""
    if len(names) > 1:
        raise ValueError(f"ends with {path!r}, which is no database; it ends like /0")
    return RedisUrl(
        scheme,
        hosts=() if scheme == "unix" else _hosts(parts.netloc.rpartition("@")[2], scheme),
        path=path if scheme == "unix" else "",
        service=service,
        db=_number(options.pop("db", names[0] if names else "0")),
        username=options.pop("username", username),
        password=options.pop("password", password),
        options=options,
    )


def _strange() -> ValueError:
    return ValueError(f"is not a URL like {FORMS}")


def _service(names: list[str]) -> str:
    """Take what Sentinels call the primary out of a path's names."""
    if not names or names[0].isdecimal():
        raise ValueError(
            "names no primary; it ends with what the Sentinels call theirs, and the database, "
            "like /mymaster/0"
        )
    return names.pop(0)


def _hosts(text: str, scheme: str) -> tuple[tuple[str, int], ...]:
    found = []
    for each in text.split(","):
        match = re.fullmatch(r"(\[[0-9A-Fa-f:.]+\]|[^:\[\]\s]+)?(?::([0-9]{1,5}))?", each)
        port = _SCHEMES[scheme] if match is None or match[2] is None else int(match[2])
        if match is None or not match[1] or not 0 < port < 2**16:
            raise _strange()
        found.append((match[1].strip("[]"), port))
    if len(found) > 1 and not scheme.endswith("sentinel"):
        raise ValueError(
            "names several servers; of a cluster one node is enough, and Sentinels are named by "
            "redis+sentinel://"
        )
    return tuple(found)


def _number(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,5}", text):
        raise ValueError(f"names the database {text!r}; it is a number, like 0")
    return int(text)


def _options(scheme: str, query: str) -> dict[str, str]:
    known = _OPTIONS["any"]
    if scheme.startswith("rediss"):
        known = known | _OPTIONS["tls"]
    if scheme.endswith("sentinel"):
        known = known | _OPTIONS["sentinel"]
    found = {}
    for name, value in parse_qsl(query, keep_blank_values=True):
        if name in _OPTIONS["tls"] - known:
            raise ValueError(f"has {name}, which belongs to TLS: begin it with rediss")
        if name not in known:
            raise ValueError(f"has the option {name!r}; it may have {', '.join(sorted(known))}")
        found[name] = value
    if found.get("ssl_check_hostname", "true").lower() not in _YES_OR_NO:
        raise ValueError("has ssl_check_hostname, which is true or false")
    if found.get("protocol", "3") not in {"2", "3"}:
        raise ValueError("has a protocol, which is 2 or 3")
    if found.get("ssl_cert_reqs", "required") not in {"required", "optional", "none"}:
        raise ValueError("has ssl_cert_reqs, which is required, optional or none")
    return found
