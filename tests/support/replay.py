"""The serial replay: what one clerk would do, who pays orders one after another.

It shares no code with the pipeline: plain dictionaries, plain integers, the rules from the README.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

OPENING_BALANCE = 100_000
MAX_ATTEMPTS = 5


@dataclass
class FinalState:
    """What the clerk ends with: the fate of each order, balances, money taken."""

    status: dict[str, str] = field(default_factory=dict)
    balance: dict[tuple[str, str], int] = field(default_factory=dict)
    taken: dict[str, int] = field(default_factory=dict)

    def count(self, status: str) -> int:
        return sum(1 for each in self.status.values() if each == status)

    def totals(self) -> dict[str, Any]:
        """The totals as `status --json` prints them when nothing is open."""
        return {
            "created": len(self.status),
            "paid": self.count("paid"),
            "declined": self.count("declined"),
            "dead": self.count("dead"),
            "open": 0,
            "paid_amount": {code: self.taken[code] for code in sorted(self.taken)},
        }


def replay(
    journal: Iterable[dict[str, Any]],
    *,
    opening_balance: int = OPENING_BALANCE,
    transient: float = 0.0,
    permanent: float = 0.0,
    seed: int = 0,
) -> FinalState:
    """Pay the orders of a journal one after another."""
    final_state = FinalState()
    for order in journal:
        order_id, currency = order["order_id"], order["currency"]
        assert order_id not in final_state.status, f"{order_id} was accepted twice"
        if dies(order_id, transient, permanent, seed):
            final_state.status[order_id] = "dead"
            continue
        account = order["customer_id"], currency
        held = final_state.balance.setdefault(account, opening_balance)
        price = sum(line["quantity"] * line["unit_price"] for line in order["items"])
        if price > held:
            final_state.status[order_id] = "declined"
        else:
            final_state.status[order_id] = "paid"
            final_state.balance[account] = held - price
            final_state.taken[currency] = final_state.taken.get(currency, 0) + price
    return final_state


def dies(order_id: str, transient: float, permanent: float, seed: int) -> bool:
    """Predict whether the faulty gateway lets no attempt through."""
    for attempt in range(1, MAX_ATTEMPTS + 1):
        key = f"{seed}/{order_id}/{attempt}".encode()
        drawn = int.from_bytes(hashlib.blake2b(key, digest_size=8).digest(), "big") / 2**64
        if drawn < permanent:
            return True
        if drawn >= permanent + transient:
            return False
    return True


def read_journal(text: str | bytes) -> list[dict[str, Any]]:
    """Parse what `orderly journal` printed."""
    return [json.loads(line) for line in text.splitlines()]
