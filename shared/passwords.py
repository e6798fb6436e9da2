"""Passwords in URLs: put in for a driver, and hidden from people."""

from __future__ import annotations

import re
from urllib.parse import quote, urlsplit


def with_password(url: str, password: str) -> str:
    """Put a password into a URL, in place of one that it may have."""
    parts = urlsplit(url)
    user = parts.username or ""
    host = parts.netloc.rpartition("@")[2]
    return parts._replace(netloc=f"{user}:{quote(password, safe='')}@{host}").geturl()


def mask_password(text: str) -> str:
    """Hide the password of every URL in a text, one with unescaped ``@`` or ``/`` in it, too.

    Drivers also take one behind the question mark.
    """
    text = re.sub(r"(://[^:/@\s]*):\S*@", r"\1:***@", text)
    return re.sub(r"(?i)([?&]\w*password=)[^&\s']*", r"\1***", text)
