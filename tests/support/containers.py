"""The command and the HTTP service as tests know them, in the containers of a stack."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import httpx

from tests.support.orderly import ROOT, Orderly, Result
from tests.support.replay import FinalState
from tests.support.server import Server

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.stack import Stack


class ContainedOrderly(Orderly):
    """The command as a user runs it: in the container that takes orders in."""

    def __init__(self, stack: Stack) -> None:
        super().__init__(ROOT)
        self._stack = stack

    def __call__(
        self,
        *arguments: str | Path,
        stdin: bytes | None = None,
        within: float = 90.0,
        **environment: str,
    ) -> Result:
        """Run a command to its end, inside."""
        given = ["env", *map("=".join, environment.items())] if environment else []
        command = [*given, "orderly", *map(str, arguments)]
        return self._stack.inside(self._stack.producer, *command, stdin=stdin or b"", within=within)

    def final_state(self) -> FinalState:
        """Read outcomes and balances straight from the ledger's tables."""
        final_state = FinalState()
        rows = self._stack.query("SELECT order_id, status FROM outcomes WHERE status <> 'retried'")
        final_state.status = {order_id: str(status) for order_id, status in rows}
        assert len(final_state.status) == len(rows), "an order has two outcomes"
        for account, balance in self._stack.query(
            "SELECT account, balance FROM accounts WHERE kind = 'customer'"
        ):
            _, customer, currency = account.split("/")
            final_state.balance[customer, currency] = balance
        for currency, amount in self._stack.query(
            "SELECT currency, amount FROM transfers WHERE order_id IS NOT NULL"
        ):
            final_state.taken[currency] = final_state.taken.get(currency, 0) + amount
        return final_state

    def query(self, statement: str, *parameters: Any) -> list[tuple[Any, ...]]:
        """Ask the ledger's database; the tests' own texts are the parameters."""
        for each in parameters:
            assert "'" not in each
            statement = statement.replace("?", f"'{each}'", 1)
        return self._stack.query(statement)


class Shop(Server):
    """The HTTP service in a container."""

    def __init__(self, stack: Stack) -> None:
        super().__init__(stack.orderly)
        self._stack = stack

    def connect(self) -> None:
        """Have a client for where the stack is now."""
        self.client.close()
        self.port, self.url = self._stack.port, f"http://127.0.0.1:{self._stack.port}"
        self.client = httpx.Client(base_url=self.url, timeout=30, trust_env=False)

    @property
    def logs(self) -> list[dict[str, Any]]:
        """What it logged, parsed; not what it told its operator in plain lines."""
        said = self._stack.compose("logs", "--no-log-prefix", self._stack.producer).out
        return [json.loads(line) for line in said.splitlines() if line.startswith("{")]
