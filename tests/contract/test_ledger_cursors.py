"""Which partitions stand still, by a clock that may be set."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from shared import clock
from shared.ledger.cursors import claim_nudge, overdue
from shared.ledger.database import tables
from tests.support.ledgers import order, take_in

if TYPE_CHECKING:
    from shared.ledger.ledger import Ledger
    from tests.conftest import NewLedger

HOUR = 3600 * clock.SECOND
TIMES = ("moved_at", "retry_at", "nudged_at", "accepted_at")


def set_times(ledger: Ledger, at: int, *but: str, then: int = 0) -> None:
    """Set every time that counts to ``at``, but for some, which are set to ``then``."""
    times = {name: then if name in but else at for name in TIMES}
    with ledger.database.write() as connection:
        connection.execute(tables.journal.update().values(accepted_at=times.pop("accepted_at")))
        connection.execute(tables.cursors.update().values(times))


def still(ledger: Ledger, before: int) -> list[int]:
    with ledger.database.read() as connection:
        return [place.partition for place in overdue(connection, before)]


@pytest.mark.parametrize("name", TIMES)
def test_a_partition_stands_still_when_every_time_is_past(new_ledger: NewLedger, name: str) -> None:
    ledger = new_ledger(partitions=1)
    take_in(ledger, [order("o-1")])
    now = clock.now_us()
    set_times(ledger, now - HOUR)
    assert still(ledger, now - clock.SECOND) == [0]
    set_times(ledger, now - HOUR, name, then=now)
    assert still(ledger, now - clock.SECOND) == []
    set_times(ledger, now - HOUR, name, then=now + HOUR)  # the clock was set back since
    assert still(ledger, now - clock.SECOND) == [0]


def test_a_nudge_that_was_sent_before_the_clock_was_set_back_holds_no_other_back(
    new_ledger: NewLedger,
) -> None:
    ledger = new_ledger(partitions=1)
    take_in(ledger, [order("o-1")])
    now = clock.now_us()
    set_times(ledger, now - HOUR, "nudged_at", then=now + HOUR)
    with ledger.database.read() as connection:
        (place,) = overdue(connection, now)
    assert claim_nudge(ledger, place, now) is True
    assert claim_nudge(ledger, place, now) is False
