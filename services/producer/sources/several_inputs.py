"""Orders that begin in one CSV input of a run and go on in the next: refused, or named."""

from __future__ import annotations

from typing import TYPE_CHECKING

from services.producer.sources.csv_rows import bare
from services.producer.sources.seen_ids import SeenIds
from services.producer.sources.source import Accepted, Rejected
from shared.errors import Reason
from shared.ledger.journal import Verdict

if TYPE_CHECKING:
    from services.producer.sources.files import Input
    from services.producer.sources.source import Source

_REJECTED_EARLIER = Reason(
    "order_id", "was rejected in an earlier input of this run; if this is all of it, run it alone"
)


class AcrossInputs:
    """Watches the CSV inputs of a run: an order may begin in one of them and go on in the next.

    Of what an input says twice its own guard speaks.
    """

    def __init__(self) -> None:
        self._taken: list[SeenIds] = []
        self._rejected: list[SeenIds] = []

    def guard(self, source: Input) -> Source:
        """Yield an input's orders; refuse one of which rows were rejected in an earlier input."""
        self._taken.append(SeenIds())
        self._rejected.append(SeenIds())
        for found in source.orders():
            if source.is_csv and isinstance(found, Rejected):
                self._refused(source, found)
            elif source.is_csv and isinstance(found, Accepted):
                order_id = found.order.order_id
                if _earlier(order_id, self._rejected):
                    yield Rejected(found.source_line, order_id, [_REJECTED_EARLIER])
                    continue
            yield found

    def note(self, source: Input, verdict: Verdict, order_id: str) -> None:
        """Note what became of an order."""
        if not source.is_csv:
            return
        if verdict is not Verdict.CONFLICT:
            self._taken[-1].add(order_id)
        elif _earlier(order_id, self._taken):
            source.notes.come_over(order_id)

    def close(self) -> None:
        """Forget them."""
        for seen in self._taken + self._rejected:
            seen.close()

    def _refused(self, source: Input, found: Rejected) -> None:
        order_id = bare(found.order_id or "")
        if not order_id:
            return
        if _earlier(order_id, self._taken):
            source.notes.come_over(order_id)
        self._rejected[-1].add(order_id)


def _earlier(order_id: str, seen: list[SeenIds]) -> bool:
    """Whether an id was seen in an input before the latest."""
    return any(each and order_id in each for each in seen[:-1])
