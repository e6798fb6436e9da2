"""What a worker knows of the partitions that it holds: their orders, one queue a customer.

Only the first order of a customer may be called. Everything here is memory: what the ledger has of
it is written by ``Charger`` before it matters.
"""

from __future__ import annotations

import time
from collections import deque
from enum import Enum, auto
from typing import TYPE_CHECKING

from shared.ledger.accounts import customer_account
from shared.ledger.pending import PendingRow
from shared.ledger.postings import Decided

if TYPE_CHECKING:
    import asyncio

    from shared.ledger.cursors import Cursor
    from shared.ledger.resolutions import Resolution
    from shared.ledger.taking import Taken

KEPT_BALANCES = 1000
"""So many more than needed may be kept: customers come again."""

Money = dict[str, int | None]
"""Balances by account in minor units; None where there is no account yet."""


class Purpose(Enum):
    """What a call is for, by the gateway's method."""

    CHARGE = "charge"
    LOOKUP = "lookup"
    PING = "ping"


class Call:
    """A call that is out.

    Attributes:
        row: For which order; None for a ping.
        generation: Of its key.
        started: When it began, in monotonic seconds.
        deadline: When it is given up.
        task: What runs it on the loop; None where a thread does.
        is_given_up: Whether its time is over.
        has_ended: Whether it can charge nobody any more.
    """

    __slots__ = (
        "deadline",
        "generation",
        "has_ended",
        "is_given_up",
        "purpose",
        "row",
        "started",
        "task",
    )

    def __init__(self, purpose: Purpose, row: Row | None, timeout: float) -> None:
        self.purpose = purpose
        self.row = row
        self.generation = 0 if row is None else row.generation
        self.is_given_up = False
        self.has_ended = False
        self.started = time.monotonic()
        self.deadline = self.started + timeout
        self.task: asyncio.Task[None] | None = None


class Place(Enum):
    """Where an order is on its way to a call."""

    BEHIND = auto()
    UNREAD = auto()
    TIMER = auto()
    ELIGIBLE = auto()
    PROMOTED = auto()
    STARTABLE = auto()
    OUT = auto()
    DONE = auto()


class Row:
    """An order that is taken up; what ``shared.ledger.database.tables.pending`` says, and more.

    Attributes:
        taken: The order and what the journal says of it; None if it has to be read again.
        place: Where it is on its way.
        due: When to go on with it, in monotonic seconds.
        is_new: Whether the ledger has no row of it yet.
        is_called: Whether the ledger knows that it may be called from now on, and it was not.
        is_chained: Whether it was written ahead, behind its customer's first.
        is_spent: Whether its key is of no use any more.
        was_late: Whether a call for it got no answer in time.
        doubts: Calls in a row that have left it in doubt.
        caller: Who wrote its row last, as far as is known.
        call: The one that is out.
        late: One that was given up, and goes on.
        resolution: What somebody has found out about it.
    """

    __slots__ = (
        "attempts",
        "call",
        "caller",
        "crashes",
        "customer_id",
        "doubtful_since",
        "doubts",
        "due",
        "due_at",
        "generation",
        "is_called",
        "is_chained",
        "is_new",
        "is_spent",
        "key_since",
        "late",
        "number",
        "order_id",
        "partition",
        "place",
        "reason",
        "resolution",
        "state",
        "taken",
        "was_late",
    )

    def __init__(self, partition: HeldPartition, row: PendingRow, taken: Taken | None) -> None:
        self.partition = partition
        self.number = row.number
        self.order_id = row.order_id
        self.customer_id = row.customer_id
        self.state = row.state
        self.generation = row.generation
        self.attempts = row.attempts
        self.crashes = row.crashes
        self.key_since = row.key_since
        self.doubtful_since = row.doubtful_since
        self.due_at = row.due_at
        self.reason = row.reason
        self.caller = row.caller
        self.taken = taken
        self.place = Place.BEHIND
        self.due = 0.0
        self.is_new = False
        self.is_called = False
        self.is_chained = False
        self.is_spent = False
        self.was_late = False
        self.doubts = 0
        self.call: Call | None = None
        self.late: Call | None = None
        self.resolution: Resolution | None = None

    @property
    def state_at_rest(self) -> str:
        """Its state while it may not be called."""
        return "queued" if self.doubtful_since is None else "doubt"

    def as_row(self, caller: str) -> PendingRow:
        """The row as the ledger keeps it."""
        return PendingRow(
            self.partition.number,
            self.number,
            self.order_id,
            self.customer_id,
            self.state,
            self.generation,
            self.attempts,
            self.crashes,
            self.key_since,
            self.doubtful_since,
            self.due_at,
            self.reason,
            caller,
        )

    @property
    def account(self) -> str:
        """What it is paid from; its order must have been read."""
        assert self.taken is not None  # noqa: S101
        return customer_account(self.customer_id, self.taken.order.currency)


class HeldPartition:
    """A partition that this worker holds.

    Attributes:
        number: Which.
        cursor: As the ledger has it.
        head: The journal's last number, as far as is known.
        taken_to: Where the cursor is to go.
        read: Orders that follow, read and not taken up; an entry is read as a whole.
        found: What somebody has found out about some of those.
        rows: By number, ascending.
        customers: Each one's orders, in their order.
        balances: Of the customers whose orders are here.
        decided: What is settled, and not written.
        gone: The numbers of those that have a row in the ledger.
        resolved: The orders whose resolutions have done their work.
        accepted_at: When those were accepted that are settled.
        changed: Rows to write.
        eligible: Orders that may be called as soon as that is written.
        out: Calls that are out.
        is_leaving: Whether nothing begins here any more, since others are to have it.
    """

    def __init__(self, cursor: Cursor) -> None:
        self.number = cursor.partition
        self.cursor = cursor
        self.head = cursor.head
        self.taken_to = cursor.number
        self.read: deque[Taken] = deque()
        self.found: dict[str, Resolution] = {}
        self.rows: dict[int, Row] = {}
        self.customers: dict[str, deque[Row]] = {}
        self.balances: Money = {}
        self.eligible: deque[Row] = deque()
        self.changed: dict[int, Row] = {}
        self.out = 0
        self.is_leaving = False
        self.clear()

    def clear(self) -> None:
        """Forget what is settled, once it is written."""
        self.decided = Decided(self.number)
        self.numbers: list[int] = []
        self.decided.numbers = self.numbers
        self.gone: list[int] = []
        self.resolved: list[str] = []
        self.accepted_at: list[int] = []

    @property
    def is_behind(self) -> bool:
        """Whether there are orders to be taken up."""
        return self.taken_to < self.head

    @property
    def is_done(self) -> bool:
        """Whether nothing is left to do here."""
        return not self.rows and self.taken_to >= self.head and not self.has_news

    @property
    def has_news(self) -> bool:
        """Whether something is to be written."""
        decided = self.decided
        return bool(
            self.changed
            or self.resolved
            or self.numbers
            or self.gone
            or decided.failures
            or self.taken_to != self.cursor.number
        )

    def add(self, row: Row) -> bool:
        """Take a row into the book; return whether it is its customer's first."""
        self.rows[row.number] = row
        queue = self.customers.setdefault(row.customer_id, deque())
        queue.append(row)
        return len(queue) == 1

    def take_up(self) -> Row:
        """Take up the next order that is read: it gets a row in the ledger."""
        taken = self.read.popleft()
        order = taken.order
        # Failures that a cursor has counted are those of its next order.
        attempts = self.cursor.attempts if taken.number == self.cursor.number + 1 else 0
        row = Row(
            self,
            PendingRow(
                self.number,
                taken.number,
                order.order_id,
                order.customer_id,
                state="queued",
                generation=taken.generation,
                attempts=attempts,
                crashes=0,
                key_since=None,
                doubtful_since=None,
                due_at=None,
                reason=None,
                caller="",
            ),
            taken,
        )
        row.is_new = True
        row.resolution = self.found.pop(row.order_id, None)
        self.taken_to = row.number
        self.changed[row.number] = row
        return row

    def remove(self, row: Row) -> Row | None:
        """Take out a customer's first row, since it is settled; return the one that is next."""
        del self.rows[row.number]
        self.changed.pop(row.number, None)
        queue = self.customers[row.customer_id]
        queue.popleft()
        if queue:
            return queue[0]
        del self.customers[row.customer_id]
        return None

    def know(self, balances: Money) -> None:
        """Note what accounts hold that were not known yet."""
        self.balances = balances | self.balances

    def forget_balances(self) -> None:
        """Drop what is written of customers who have no order here any more."""
        if len(self.balances) > 2 * len(self.customers) + KEPT_BALANCES:
            self.balances = {
                account: balance
                for account, balance in self.balances.items()
                if account.split("/")[1] in self.customers or account in self.decided.balances
            }
