"""Passwords: in files that may change, put into URLs for a driver, and hidden from people."""

from __future__ import annotations

import re
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

# User and password as they were meant, whatever was not escaped in them: up to the last @ before
# the query; a user may have one, too; and the password may have the first question mark.
_USERINFO = (
    re.compile(r"(?s)([^:/?@]*):([^?]*)@(.*)"),
    re.compile(r"(?s)([^:/?]*)(?::([^/?]*))?@(.*)"),
    re.compile(r"(?s)([^:/?@]*):(?!\d*[/?])(.*?)@(.*)"),
)
# A colon behind an @ may be that of a port.
_BEFORE_PASSWORD = re.compile(r"(?s)^([^:/?#@]*:|[^:/?#@]*@[^:/?#]*:(?!\d*(?:[/?,]|$))).*@")
_BEFORE_ANYTHING = re.compile(r"(?s)^([^:]*:).*@")
# Up to the next parameter, of a URL or of what libpq takes in place of one.
_NAMED_PASSWORD = re.compile(r"(?is)(\w*password\s*=\s*).*?(?=&[\w.%]+=|\s+\w+\s*=|$)")


class PasswordFile:
    """A password that may be changed: to be read again for each connection.

    Args:
        path: Where it is.
        password: What it was when the settings were read.
    """

    def __init__(self, path: str, password: str) -> None:
        self._path = Path(path)
        self._password = password

    def read(self) -> str:
        """Return what the file says; what was last read, while it cannot be."""
        with suppress(OSError, UnicodeDecodeError):
            self._password = read_password(self._path) or self._password
        return self._password


def read_password(path: Path) -> str:
    """Read a password's file.

    Raises:
        OSError: It cannot be read.
        UnicodeDecodeError: It is not UTF-8.
    """
    # The end of the line is the editor's; blanks may be the password's own.
    return path.read_text(encoding="utf-8").rstrip("\r\n")


def with_password(url: str, password: str) -> str:
    """Put a password into a URL, in place of one that it may have."""
    parts = urlsplit(url)
    user = parts.username or ""
    host = parts.netloc.rpartition("@")[2]
    return parts._replace(netloc=f"{user}:{quote(password, safe='')}@{host}").geturl()


def escape_password(url: str) -> str:
    """Escape what is not escaped in the user and the password of a URL."""
    scheme, _, rest = url.partition("://")
    found = next(filter(None, (each.fullmatch(rest) for each in _USERINFO)), None)
    if found is None:
        return url
    user, password, rest = found.groups()
    userinfo = quote(unquote(user), safe="")
    if password is not None:
        userinfo += f":{quote(unquote(password), safe='')}"
    return f"{scheme}://{userinfo}@{rest}"


def mask_password(url: str) -> str:
    """Hide the password of a URL, or of what was meant to be one, wherever it is in it.

    It may have characters in it that should have been escaped, so rather too much is hidden.
    """
    scheme, mark, rest = url.partition("://")
    if mark:
        masked = f"{scheme}://" + _BEFORE_PASSWORD.sub(r"\1***@", rest)
    else:
        masked = _BEFORE_ANYTHING.sub(r"\1***@", url)
    return _NAMED_PASSWORD.sub(r"\1***", masked)
