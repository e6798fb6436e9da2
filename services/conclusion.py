"""The end of a run: what became of its orders, and the proof of that."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from services.background_proof import Stopped, prove
from services.timed_queries import ENDING
from shared.errors import LedgerUnavailable
from shared.ledger.positions import open_up_to
from shared.ledger.totals import run_totals
from shared.ledger.verification.verify import is_most, verify, verify_since

if TYPE_CHECKING:
    import sqlalchemy as sa

    from services.processes.signals import StopRequests
    from services.run_report import Display, Finished
    from shared.ledger.ledger import Ledger
    from shared.ledger.verification.proof import Step
    from shared.ledger.verification.verify import Standing

STOPPED = "stopped before the proof was done; orderly verify proves it"
UNCOUNTED = "stopped before the outcomes were counted; orderly status counts them"
UNREAD = "the outcomes could not be counted; orderly status counts them"


@dataclass(frozen=True)
class Conclusion:
    """Counts and proves.

    Attributes:
        before: How the ledger stood when the run began.
        proves_all: Whether to prove the whole ledger, and not only what the run touched.
    """

    ledger: Ledger
    before: Standing
    stop: StopRequests
    display: Display
    proves_all: bool

    def draw(self, finished: Finished, *, is_abandoned: bool) -> None:
        """Fill in the report from one snapshot, and hold that against a proof.

        A signal that comes meanwhile ends the proof, and so does a ledger in trouble; what was
        settled is counted before.
        """
        drain, abort = self.stop.drain, self.stop.abort
        was_draining, until = drain.is_set(), time.monotonic() + ENDING

        def is_over() -> bool:
            if not abort.is_set() and (was_draining or not drain.is_set()):
                return False
            return finished.is_counted or time.monotonic() > until

        def conclude(connection: sa.Connection, step: Step) -> None:
            self._count(connection, finished)
            if not is_abandoned:
                self._prove(connection, finished, step)

        try:
            prove(self.ledger.database, conclude, is_over=is_over, show=self.display.prove)
        except Stopped:
            if not finished.is_counted:
                finished.problems.append(UNCOUNTED)
            elif not is_abandoned:
                finished.problems.append(STOPPED)
        except LedgerUnavailable as error:
            _give_up(finished, error)

    def _prove(self, connection: sa.Connection, finished: Finished, step: Step) -> None:
        """Prove what the run touched, or the whole if that was asked for or costs no more."""
        finished.is_all_proved = self.proves_all or is_most(connection, self.before)
        proof = (
            verify(self.ledger, connection, step)
            if finished.is_all_proved
            else verify_since(self.ledger, connection, self.before, step)
        )
        finished.violations = [
            f"{found.check}: {found.where}: {found.message}" for found in proof.violations
        ]
        finished.is_judged = True
        finished.report.verified = proof.ok and finished.report.open == 0

    def _count(self, connection: sa.Connection, finished: Finished) -> None:
        report = finished.report
        mine = run_totals(connection, report.run_id, report.created)
        report.paid, report.declined, report.dead = mine.paid, mine.declined, mine.dead
        report.open, report.paid_amount = mine.open, mine.paid_amount
        before = self.before.positions.values()
        ends = {position.partition: position.head for position in before}
        were_open = sum(position.open for position in before)
        report.recovered = were_open - open_up_to(connection, ends)
        settled = mine.settled + report.recovered
        report.orders_per_second = round(settled / max(report.seconds, 0.001), 1)
        finished.is_counted = True


def _give_up(finished: Finished, error: LedgerUnavailable) -> None:
    """Leave the run unproved for what the ledger said: the report is printed before that is."""
    # A snapshot that did not come to its end is none, whatever was found in it.
    finished.is_judged = finished.report.verified = False
    finished.violations = []
    if not finished.is_counted:
        finished.problems.append(UNREAD)
    if finished.error is None:
        finished.error = error
    else:
        finished.problems.append(str(error))
