"""Looks things up in the book: charges by key, by reference and by number, and accounts."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, TypeVar

from services.bank.book import connect, unavailable
from services.bank.charges import PAID, Charge, write_json, write_list
from services.bank.problems import Problem

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

T = TypeVar("T")

PAGE = 1000
"""Charges in a page of the whole book."""

MOST_WAITING = 256

_SELECT = "SELECT id, key, reference, account, amount, currency, status, reason FROM charges WHERE "


class Lookups:
    """Reads for coroutines, in a thread and a connection of its own.

    Args:
        path: Where the book is.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._connection = connect(path, writes=False)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="bank-lookups")
        self._waiting = 0

    async def charges(
        self, lag: float, *, ledger: str | None = None, after: int | None = None, **equal: str
    ) -> bytes:
        """Find charges, in the order in which they were posted, and write them as JSON.

        Args:
            lag: Seconds: younger charges are not seen.
            ledger: Whose book; None is all of them.
            after: Only those with higher numbers, at most a page of them.
            equal: What a column must be: ``key`` or ``reference``.
        """
        conditions = ["id <= ?"]
        values: list[Any] = []
        if ledger is not None:
            equal["ledger"] = ledger
        for column, value in equal.items():
            conditions.append(f"{column} = ?")
            values.append(value)
        if after is not None:
            conditions.append("id > ?")
            values.append(after)
        statement = f"{_SELECT}{' AND '.join(conditions)} ORDER BY id"
        if after is not None:
            statement += f" LIMIT {PAGE}"
        return await self._ask(lambda: self._charges(statement, values, lag))

    async def account(self, account: str, ledger: str | None, lag: float) -> bytes:
        """Find an account, and write it as JSON.

        Args:
            account: Its name.
            ledger: Whose book; None is the only one that has it.
            lag: Seconds: what younger charges took is still there.

        Raises:
            Problem: There is none, or several books have one.
        """
        return await self._ask(lambda: self._account(account, ledger, lag))

    def close(self) -> None:
        """End the thread, and close the book."""
        self._thread.shutdown()
        self._connection.close()

    async def _ask(self, read: Callable[[], T]) -> T:
        if self._waiting >= MOST_WAITING:
            raise Problem("busy", f"{MOST_WAITING} look-ups wait already")
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, read)
        except sqlite3.Error as error:
            raise Problem("unavailable", str(unavailable(self._path, error))) from None
        finally:
            self._waiting -= 1

    def _charges(self, statement: str, values: list[Any], lag: float) -> bytes:
        rows = self._connection.execute(statement, (self._newest(lag), *values))
        return write_list(map(Charge._make, rows))

    def _account(self, account: str, ledger: str | None, lag: float) -> bytes:
        execute = self._connection.execute
        execute("BEGIN")  # so that both questions are about one moment
        try:
            rows = execute(
                "SELECT ledger, currency, balance, opened_by FROM accounts "
                "WHERE account = ? AND ledger = coalesce(?, ledger) ORDER BY ledger",
                (account, ledger),
            ).fetchall()
            newest = self._newest(lag)
            rows = [row for row in rows if row[-1] <= newest]
            if not rows:
                raise Problem("unknown-account", f"the account {account} is in no such book")
            if len(rows) > 1:
                names = ", ".join(repr(row[0]) for row in rows[:20])
                raise Problem("ambiguous", f"ledger: must be named, as one of {names}")
            found, currency, balance, _ = rows[0]
            (taken,) = execute(
                "SELECT coalesce(sum(amount), 0) FROM charges "
                "WHERE id > ? AND account = ? AND ledger = ? AND status = ?",
                (newest, account, found, PAID),
            ).fetchone()
        finally:
            execute("COMMIT")
        fields = {"account": account, "ledger": found, "currency": currency}
        return write_json({**fields, "balance": balance + taken})

    def _newest(self, lag: float) -> int:
        """The number of the newest charge that is seen."""
        if not lag:
            return 2**63 - 1
        found = self._connection.execute(
            "SELECT id FROM charges WHERE at <= ? ORDER BY id DESC LIMIT 1", (time.time() - lag,)
        ).fetchone()
        return int(found[0]) if found else 0
