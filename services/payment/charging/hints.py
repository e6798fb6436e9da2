"""A consumer's end of charging: a message says which partition to look at, and that is all.

Nothing waits here, so that a worker takes its messages whatever its calls do.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from services.payment.next_batch import Delivery, compare, read_destination
from services.payment.settle import Visit
from shared.ledger.cursors import peek
from shared.ledger.journal import digest

if TYPE_CHECKING:
    from collections.abc import Callable

    from services.payment.charging.charger import Charger
    from shared.ledger.ledger import Ledger
    from shared.metrics import Meter


class Hints:
    """Hands on what messages say to a charger; in a settler's place.

    Args:
        ledger: Whose messages these are.
        charger: Who charges.
        on_progress: Called with each partition: a sign of life.
        meter: Where messages are counted.
    """

    def __init__(
        self,
        ledger: Ledger,
        charger: Charger,
        *,
        on_progress: Callable[[int], None],
        meter: Meter,
    ) -> None:
        self._ledger = ledger
        self._charger = charger
        self._on_progress = on_progress
        self._meter = meter

    def settle(self, message: bytes) -> Visit:
        """Have the partition looked at that a message points to.

        Raises:
            LedgerUnavailable: Nobody knows what the message is.
        """
        header = read_destination(self._ledger, message)
        if isinstance(header, Delivery):
            self._meter.count(header)
            return Visit(header)
        partition = header.partition
        self._on_progress(partition)
        self._charger.hint(partition)
        delivery = Delivery.NUDGE
        if not header.is_nudge:
            with self._ledger.database.read() as connection:
                delivery = compare(connection, peek(connection, partition), header, digest(message))
        self._meter.count(delivery)
        return Visit(delivery, partition)

    def settle_partition(self, partition: int) -> Visit:
        """Have a partition looked at."""
        self._on_progress(partition)
        self._charger.hint(partition)
        return Visit(Delivery.NUDGE, partition)
