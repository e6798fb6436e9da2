"""One commit for many partitions: gathered from the book, and put back where it was not written."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from sqlalchemy.exc import DBAPIError

from shared.ledger.pending import Taking, write_pending
from shared.logs import Logger

if TYPE_CHECKING:
    from collections.abc import Iterable

    from services.payment.charging.book import HeldPartition, Row
    from shared.ledger.cursors import Cursor
    from shared.ledger.database.hold import Hold
    from shared.ledger.ledger import Ledger
    from shared.ledger.pending import PendingRow

    State = tuple[Cursor, list[PendingRow]]

PLAIN = "the ledger refuses the gateway's words"

log = Logger("charging")


class Part(NamedTuple):
    """What a commit writes of one partition.

    Attributes:
        rows: Those whose rows it writes.
        new: Those of them that had none.
        accepted_at: When the orders were accepted that it settles.
    """

    partition: HeldPartition
    taking: Taking
    rows: list[Row]
    new: list[Row]
    accepted_at: list[int]


@dataclass
class Batch:
    """What one commit writes."""

    parts: list[Part] = field(default_factory=list)

    @property
    def takings(self) -> list[Taking]:
        """The same for the ledger."""
        return [part.taking for part in self.parts]


def gather(partitions: Iterable[HeldPartition], caller: str) -> Batch:
    """Collect all that is to be written, and take it out of the book."""
    return Batch([_part(each, caller) for each in partitions if each.has_news])


def _part(partition: HeldPartition, caller: str) -> Part:
    rows = list(partition.changed.values())
    new = [row for row in rows if row.is_new]
    taking = Taking(
        partition.cursor,
        partition.taken_to,
        partition.decided,
        [row.as_row(caller) for row in rows],
        len(new),
        partition.gone,
        partition.resolved,
    )
    part = Part(partition, taking, rows, new, partition.accepted_at)
    for row in rows:
        row.caller = caller
        row.is_new = False
    partition.changed = {}
    partition.clear()
    return part


def has_written(part: Part) -> None:
    """Note in the book that a part is in the ledger."""
    partition = part.partition
    partition.cursor = partition.cursor._replace(number=part.taking.number, attempts=0)
    partition.forget_balances()


def restore(part: Part) -> None:
    """Put back what was not written; what came after it in the book follows it."""
    partition, taking = part.partition, part.taking
    later, gone, resolved = partition.decided, partition.gone, partition.resolved
    numbers, accepted_at = partition.numbers, partition.accepted_at
    first = taking.decided
    partition.numbers = [*first.numbers, *numbers]
    first.numbers = partition.numbers
    first.payments += later.payments
    first.debits += later.debits
    first.charges += later.charges
    first.failures += later.failures
    first.balances |= later.balances
    first.opened |= later.opened
    partition.decided = first
    partition.accepted_at = [*part.accepted_at, *accepted_at]
    partition.resolved = [*taking.resolved, *resolved]
    new = {row.number for row in part.new}
    partition.gone = [*taking.gone, *(number for number in gone if number not in new)]
    for row in part.new:
        row.is_new = row.number in partition.rows
    partition.changed = {
        row.number: row for row in part.rows if row.number in partition.rows
    } | partition.changed


def was_written(part: Part, state: State) -> bool:
    """Find out from the ledger whether a part of a commit without an answer is in it."""
    cursor, rows = state
    taking = part.taking
    if taking.number != taking.before.number:
        return cursor.number == taking.number
    if taking.gone:
        return taking.gone[0] not in {row.number for row in rows}
    return False  # nothing but rows, which may be written twice


def write_what_can_be(ledger: Ledger, hold: Hold, batch: Batch) -> list[Part]:
    """Write each part by itself, at last without its texts; return those that are written.

    Raises:
        LedgerUnavailable: The rest need not be tried.
    """
    written: list[Part] = []
    for part in batch.parts:
        try:
            write_pending(ledger, hold, [part.taking])
        except DBAPIError:
            if not _write_plainly(ledger, hold, part):
                continue
        written.append(part)
    return written


def _write_plainly(ledger: Ledger, hold: Hold, part: Part) -> bool:
    taking = part.taking
    decided = taking.decided
    decided.payments = [
        each.model_copy(update={"reason": each.reason and PLAIN}) for each in decided.payments
    ]
    decided.charges = [each._replace(reference=None) for each in decided.charges]
    decided.failures = [
        (number, failed._replace(reason=PLAIN)) for number, failed in decided.failures
    ]
    taking.rows = [row._replace(reason=row.reason and PLAIN) for row in taking.rows]
    try:
        write_pending(ledger, hold, [taking])
    except DBAPIError as error:
        log.warning(
            "the ledger refuses what a partition is to be written; it is tried again",
            partition=part.partition.number,
            error=str(error.orig),
        )
        return False
    return True


def is_as_known(partition: HeldPartition, state: State) -> bool:
    """Whether nobody else has been at work on a partition since it was written last."""
    cursor, rows = state
    if cursor.number != partition.cursor.number:
        return False
    known: dict[int, str | None] = {
        row.number: row.caller for row in partition.rows.values() if not row.is_new
    }
    known |= dict.fromkeys(partition.gone)
    if {row.number for row in rows} != known.keys():
        return False
    return all(known[row.number] in {None, row.caller} for row in rows)
