"""Posts charges: decides several in one transaction, each by its account's balance, once a key."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from services.bank.book import connect
from services.bank.charges import PAID, Charge, book_of, decide
from services.bank.problems import Problem

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from services.bank.charges import ChargeRequest

_FIELDS = "id, key, reference, account, amount, currency, status, reason"
_FIRST = f"SELECT {_FIELDS} FROM charges WHERE key = ? AND nth = 1"  # noqa: S608
_LAST = "SELECT coalesce(max(nth), 0) FROM charges WHERE key = ?"
_BALANCE = "SELECT currency, balance FROM accounts WHERE account = ? AND ledger = ?"
_POST = f"INSERT INTO charges ({_FIELDS}, at, ledger, nth) VALUES ({', '.join('?' * 11)})"  # noqa: S608
_KEEP = """INSERT INTO accounts (account, ledger, currency, balance, opened_by)
    VALUES (?, ?, ?, ?, ?)
    ON CONFLICT (account, ledger) DO UPDATE SET balance = excluded.balance"""


@dataclass(frozen=True, slots=True)
class Asked:
    """A charge that is to be posted.

    Attributes:
        key: Its key.
        request: What is wanted.
        honours_key: Whether a key that is known replays its charge.
    """

    key: str
    request: ChargeRequest
    honours_key: bool = True


@dataclass(frozen=True, slots=True)
class Posted:
    """What became of it.

    Attributes:
        charge: The one that was posted, now or earlier.
        is_replayed: Whether that was earlier.
    """

    charge: Charge
    is_replayed: bool = False


class Posting:
    """Writes to the book; for one thread.

    Args:
        path: Where the book is.
        opening_balance: What an account holds before its first charge, in minor units.
    """

    def __init__(self, path: Path, opening_balance: int) -> None:
        self._connection = connect(path)
        self._opening_balance = opening_balance
        newest = self._connection.execute("SELECT at FROM charges ORDER BY id DESC LIMIT 1")
        self._at = float((newest.fetchone() or [0.0])[0])

    def post(self, several: Sequence[Asked]) -> list[Posted | Problem]:
        """Decide charges in their order, as if each were alone; all is on disk when this returns.

        Raises:
            sqlite3.Error: None of them is in the book, unless `is_perhaps_written` of the error.
        """
        execute = self._connection.execute
        # Never back, whatever the clock does: so the younger charges are those with higher numbers.
        self._at = max(self._at, time.time())
        execute("BEGIN IMMEDIATE")
        try:
            found = [self._post_one(asked) for asked in several]
            execute("COMMIT")
        except BaseException:
            if self._connection.in_transaction:
                execute("ROLLBACK")
            raise
        return found

    def close(self) -> None:
        """Close the book."""
        self._connection.close()

    def _post_one(self, asked: Asked) -> Posted | Problem:
        execute, key, request = self._connection.execute, asked.key, asked.request
        nth = 1
        if not asked.honours_key:
            (last,) = execute(_LAST, (key,)).fetchone()
            nth = last + 1
        elif (row := execute(_FIRST, (key,)).fetchone()) is not None:
            first = Charge._make(row)
            if first.is_of(request):
                return Posted(first, is_replayed=True)
            return Problem("other-parameters", _difference(first, request))
        ledger, account = book_of(key), request.account
        kept = execute(_BALANCE, (account, ledger)).fetchone()
        currency, balance = kept or (request.currency, self._opening_balance)
        if currency != request.currency:
            why = f"currency: must be {currency}, in which the account {account} is kept"
            return Problem("other-currency", why)
        status, reason = decide(balance, request.amount)
        fields = (key, request.reference, account, request.amount, currency, status, reason)
        number = execute(_POST, (None, *fields, self._at, ledger, nth)).lastrowid or 0
        if status == PAID or kept is None:
            left = balance - request.amount if status == PAID else balance
            execute(_KEEP, (account, ledger, currency, left, number))
        return Posted(Charge(number, *fields))


def _difference(charge: Charge, request: ChargeRequest) -> str:
    """Name the parameters that are not those of the key's first request."""
    given = request.model_dump()
    names = [name for name, value in given.items() if value != getattr(charge, name)]
    return f"{', '.join(names)}: must be as in the first request of the key {charge.key}"
