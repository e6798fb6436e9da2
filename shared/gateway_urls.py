"""URLs of payment backends: what ``PAYMENT_GATEWAY`` and ``BANK_URL`` may be."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

FORMS = "http://HOST:PORT or https://HOST/PATH"

_HOST = re.compile(r"(\[[0-9a-f:.]+\]|[a-z0-9._-]+)(?::([0-9]{1,5}))?")
_PATH = re.compile(r"(/[A-Za-z0-9._~!$&'()*+,;=:@%-]*)*")


def parse_gateway_url(text: str) -> str:
    """Return a URL in the one form by which a ledger remembers it.

    Raises:
        ValueError: Says what it may be instead, in words that follow the URL.
    """
    try:
        parts = urlsplit(text)
    except ValueError:  # an address in brackets that has only one of them
        raise _strange() from None
    if parts.scheme not in {"http", "https"}:
        raise _strange()
    if "@" in parts.netloc:
        raise ValueError(
            "has credentials in it, which logs would show; leave them out, and put a token into a "
            "file that GATEWAY_TOKEN_FILE names"
        )
    if "?" in text or "#" in text:
        raise ValueError("ends with a query or a fragment; leave it out")
    netloc = parts.netloc.lower()
    host = _HOST.fullmatch(netloc)
    port = 1 if host is None or host[2] is None else int(host[2])
    if host is None or not 0 < port < 2**16 or not _PATH.fullmatch(parts.path):
        raise _strange()
    return f"{parts.scheme}://{netloc}{parts.path.rstrip('/')}"


def mask_userinfo(url: str) -> str:
    """Hide all that stands before the host of a URL."""
    return re.sub(r"(?s)//.*@", "//***@", url)


def _strange() -> ValueError:
    return ValueError(f"is not a URL like {FORMS}")
