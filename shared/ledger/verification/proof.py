"""What verification found: the totals, and every rule that the ledger breaks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from shared.texts import legible

if TYPE_CHECKING:
    from shared.ledger.totals import Totals

PAGE = 2000
"""Rows that verification fetches at a time."""

Step = Callable[[float], None]
"""Told now and then which share of a proof is done, 0 to 1; may raise to end it."""

MOST_VIOLATIONS = 100
"""So many are told one by one; a ledger that was damaged on purpose could have millions."""


class Violation(NamedTuple):
    """A rule that the ledger breaks: which, where, and how."""

    check: str
    where: str
    message: str


@dataclass
class Proof:
    """What verification found.

    Attributes:
        totals: The whole ledger's, from its counters.
        violations: Empty if the ledger is right; open orders are no violation.
        more: Violations that are not listed.
        rows: How many there are to look at, as far as that is known at the start.
        step: Hears how far it is.
    """

    totals: Totals
    violations: list[Violation] = field(default_factory=list)
    more: int = 0
    rows: int = 0
    step: Step = lambda _: None
    _seen: int = 0

    @property
    def ok(self) -> bool:
        """Whether nothing was found."""
        return not self.violations

    def advance(self, rows: int) -> None:
        """Note that so many more rows were looked at; whoever listens may end the proof here."""
        self._seen += rows
        self.step(min(1.0, self._seen / max(1, self.rows)))

    def add(self, check: str, where: str, message: str) -> None:
        """Note a violation."""
        if len(self.violations) < MOST_VIOLATIONS:
            self.violations.append(Violation(check, legible(where), legible(message)))
        else:
            self.more += 1

    def as_dict(self) -> dict[str, Any]:
        """The proof under the names that the commands print."""
        listed = [violation._asdict() for violation in self.violations]
        if self.more:
            rest = Violation("more", "ledger", f"and {self.more:,} more")
            listed.append(rest._asdict())
        return {"ok": self.ok, **self.totals.as_dict(), "violations": listed}


Counts = dict[tuple[int, str, str], tuple[int, int]]
"""Orders and their amount, by partition, status and currency."""

Homes = dict[str, int]
"""The partition of each account that an order may have been charged to."""
