"""What a run says of itself: progress on the way, and the report at its end."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from services.producer.rejects import Rejects
    from shared.errors import OrderlyError
    from shared.ledger.totals import Totals


@dataclass
class RunReport:
    """What a run came to. All but ``recovered`` counts this run's own input.

    Attributes:
        recovered: Open orders of earlier runs that were settled on the way.
        paid_amount: Money taken, by currency, in minor units.
        seconds: From the start to the last settlement.
        verified: Whether what was proved is right, and nothing of this run is open.
    """

    mode: str
    run_id: str
    received: int = 0
    created: int = 0
    duplicates: int = 0
    rejected: int = 0
    recovered: int = 0
    paid: int = 0
    declined: int = 0
    dead: int = 0
    open: int = 0
    paid_amount: dict[str, int] = field(default_factory=dict)
    seconds: float = 0.0
    orders_per_second: float = 0.0
    verified: bool = False

    def as_dict(self) -> dict[str, Any]:
        """The report under the names that ``run --json`` prints."""
        return asdict(self)

    def of_intake(self) -> dict[str, Any]:
        """What ``produce --json`` prints of it: nothing about what became of the orders."""
        names = ("mode", "run_id", "received", "created", "duplicates", "rejected")
        return {name: getattr(self, name) for name in (*names, "seconds", "orders_per_second")}


@dataclass
class Finished:
    """A report, and what a person should hear besides.

    Attributes:
        problems: Why the exit code is 1, if it is.
        notes: What was left out of the inputs.
        rejects: The file of rejected orders and their most frequent reasons.
        violations: What verification found.
        is_counted: Whether the report's counts of outcomes are read.
        is_judged: Whether the proof came to its end.
        is_all_proved: Whether the whole ledger was proved, and not only what the run touched.
        set_aside: Where ``--fresh`` put the old ledger.
        error: What ended the intake early, though what was accepted before is settled; or what
            kept the proof from its end.
    """

    report: RunReport
    ledger: str
    rejects: Rejects
    seed: int | None = None
    set_aside: str | None = None
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    violations: list[str] = field(default_factory=list)
    error: OrderlyError | None = None
    is_counted: bool = False
    is_judged: bool = False
    is_all_proved: bool = False


@dataclass
class Progress:
    """How a run is getting on.

    Attributes:
        share: How much of the input was read, 0 to 1; None where nobody can know.
        received: Orders read.
        totals: The orders settled since the run began; ``open`` is the whole ledger's.
        phase: What is going on, in a word or two.
    """

    share: float | None
    received: int
    totals: Totals
    phase: str


class Display(Protocol):
    """Where progress is shown."""

    def update(self, progress: Progress) -> None:
        """Show the latest state."""

    def prove(self, share: float) -> None:
        """Show how much of the proof is done, 0 to 1."""

    def say(self, line: str) -> None:
        """Say something worth knowing at once."""
