"""`orderly bank` as tests use it: a real process, real HTTP, and its book beside it."""

from __future__ import annotations

import contextlib
import re
import sqlite3
from typing import TYPE_CHECKING, Any

from tests.support.server import Server

if TYPE_CHECKING:
    from pathlib import Path

    import httpx

Charge = dict[str, Any]


class Bank(Server):
    """One bank; it can be started again, on the same port and with the same book."""

    command = "bank"
    announces = re.compile(r"^orderly: bank on (http://\S+:(\d+)), ")

    @property
    def book(self) -> Path:
        return self.orderly.folder / "var" / "bank.db"

    def charge(
        self,
        key: str,
        amount: Any = 100,
        *,
        account: Any = "customer/ada/EUR",
        currency: Any = "EUR",
        reference: Any = "o-1",
        **headers: str,
    ) -> httpx.Response:
        """Ask for a charge."""
        asked = {"account": account, "amount": amount, "currency": currency, "reference": reference}
        return self.client.post("/charges", json=asked, headers={"idempotency-key": key} | headers)

    def charges(self, **wanted: str) -> list[Charge]:
        """Look charges up: by ``key`` or ``reference``, else the whole book, page by page."""
        if wanted.keys() & {"key", "reference"}:
            return list(self._get("/charges", wanted))
        found: list[Charge] = []
        while page := self._get(
            "/charges", {"after": str(found[-1]["id"] if found else 0)} | wanted
        ):
            found += page
        return found

    def balance(self, account: str = "customer/ada/EUR", **wanted: str) -> int:
        """Ask what is left on an account."""
        return int(self._get(f"/accounts/{account}", wanted)["balance"])

    def put_faults(self, **faults: Any) -> None:
        """Have it fail so from now on, and in no other way."""
        response = self.client.put("/faults", json=faults)
        assert response.status_code == 200, response.text

    def query(self, statement: str, *parameters: Any) -> list[Any]:
        """Ask its book, beside the bank."""
        with contextlib.closing(sqlite3.connect(self.book, timeout=30)) as connection:
            return connection.execute(statement, parameters).fetchall()

    def _get(self, path: str, parameters: dict[str, str]) -> Any:
        response = self.client.get(path, params=parameters)
        assert response.status_code == 200, response.text
        return response.json()


def problem_of(response: httpx.Response, status: int, name: str, *words: str) -> None:
    """Hold an answer to being this problem, whole, and to saying these words."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    document = response.json()
    assert set(document) - {"errors"} == {"type", "title", "status", "detail"}
    assert (document["type"], document["status"]) == (f"/problems/{name}", status)
    for word in words:
        assert word in document["detail"]
