"""What a turn does in the ledger's thread: it takes partitions, and reads what comes next in them.

The desk's own memory is only looked at here, and changed nowhere but on the loop of the calls.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, NamedTuple

from services.payment.charging.survey import Survey
from shared.ledger.accounts import balances, customer_account
from shared.ledger.database.hold import Hold
from shared.ledger.pending import read_held
from shared.ledger.resolutions import has_resolutions, read_resolutions
from shared.ledger.taking import take_after, take_again

if TYPE_CHECKING:
    import sqlalchemy as sa

    from services.payment.charging.book import HeldPartition, Money, Row
    from services.payment.charging.writing import State
    from shared.ledger.cursors import Cursor
    from shared.ledger.ledger import Ledger
    from shared.ledger.pending import PendingRow
    from shared.ledger.resolutions import Resolution
    from shared.ledger.taking import Taken
    from shared.schema import Order

KEEP_SECONDS = 1.0
"""How often the database hears of a holder that has nothing to write."""


class Plan(NamedTuple):
    """What a turn is to read.

    Attributes:
        taking: Partitions to take, if nobody has them.
        following: For each partition that is held, after which number to read, how many orders,
            and up to which head.
        unread: Orders to read again.
        asked: Orders that somebody may have found something out about.
        looks: Whether to look at all partitions, since there is news of some.
    """

    taking: set[int]
    following: list[tuple[int, int, int, int]]
    unread: list[Row]
    asked: list[str]
    looks: bool


class Found(NamedTuple):
    """What a turn has read."""

    held: list[tuple[Cursor, list[PendingRow]]]
    following: dict[int, list[Taken]]
    again: list[tuple[Row, Taken]]
    resolutions: dict[str, Resolution]
    balances: dict[int, Money]


class LedgerSide:
    """Holds partitions of a ledger, and reads them.

    Args:
        ledger: Which.
        shares: Whether partitions are shared with other workers, rather than given to each.

    Attributes:
        hold: What is held.
        survey: Which partitions that should be.
    """

    def __init__(self, ledger: Ledger, *, shares: bool) -> None:
        self._ledger = ledger
        self.hold = Hold(ledger.database)
        self.survey = Survey(shares=shares)
        self._kept_at = 0.0

    @property
    def is_due(self) -> bool:
        """Whether it is time to look, although nobody has asked."""
        is_silent = time.monotonic() - self._kept_at > KEEP_SECONDS
        return is_silent or self.survey.is_due(is_holding=bool(self.hold.held))

    def read(self, plan: Plan, partitions: dict[int, HeldPartition]) -> Found:
        """Read all of it."""
        now = time.monotonic()
        if now - self._kept_at > KEEP_SECONDS:
            self._kept_at = now
            self.hold.keep()
        taken = self.hold.take(plan.taking)
        with self._ledger.database.read() as connection:
            if plan.looks or self.survey.is_due(is_holding=bool(self.hold.held)):
                self.survey.look(connection)
            held = [read_held(connection, partition) for partition in sorted(taken)]
            following = {
                partition: take_after(connection, partition, number, most, head)
                for partition, number, most, head in plan.following
            }
            again = [
                (row, take_again(connection, row.partition.number, row.number))
                for row in plan.unread
            ]
            asked = list(plan.asked)
            if (following or again) and has_resolutions(connection):
                asked += [each.order.order_id for found in following.values() for each in found]
                asked += [found.order.order_id for _, found in again]
            resolutions = read_resolutions(self._ledger, connection, asked)
            orders = {number: [each.order for each in found] for number, found in following.items()}
            for row, found in again:
                orders.setdefault(row.partition.number, []).append(found.order)
            balances = {
                number: self._balances(connection, partitions[number], theirs)
                for number, theirs in orders.items()
            }
        return Found(held, following, again, resolutions, balances)

    def _balances(
        self, connection: sa.Connection, partition: HeldPartition, orders: list[Order]
    ) -> Money:
        """Read what the customers of orders have who are not known yet."""
        names = {customer_account(each.customer_id, each.currency) for each in orders}
        names -= partition.balances.keys()
        if not names:
            return {}
        found = balances(self._ledger, connection, partition.number, names)
        return {name: found.get(name) for name in names}

    def take_again(self, wanted: set[int]) -> dict[int, State]:
        """Take partitions again that were held, and read those that are."""
        self.hold.take(wanted)
        self.hold.let_go(self.hold.held - wanted)  # taken, and then not read
        with self._ledger.database.read() as connection:
            return {number: read_held(connection, number) for number in self.hold.held}
