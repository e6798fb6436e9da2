"""The token by which a payment backend knows us: from a file that may change."""

from __future__ import annotations

import time

from pydantic import SecretStr

from services.payment.gateway import Unavailable
from shared.passwords import PasswordFile
from shared.settings import check_token

FRESH_SECONDS = 60.0
"""How long a token is used before its file is read again."""


class BearerToken:
    """A token, or none.

    Args:
        path: Its file; empty if it is in none.
        token: What it is where there is no file; empty for none.
    """

    def __init__(self, path: str, token: str = "") -> None:
        self._file = PasswordFile(path, "") if path else None
        self._token = token
        self._read_at = -FRESH_SECONDS

    def read(self) -> str:
        """Return it.

        Raises:
            Unavailable: It cannot be sent.
        """
        now = time.monotonic()
        if self._file is not None and now - self._read_at >= FRESH_SECONDS:
            token = self._file.read()
            try:
                check_token(SecretStr(token))
            except ValueError as error:
                raise Unavailable(f"GATEWAY_TOKEN_FILE {error}", for_all=True) from None
            self._token, self._read_at = token, now
        return self._token

    def forget(self) -> None:
        """Have the file read again the next time: the backend refuses what it said."""
        self._read_at = -FRESH_SECONDS
