"""Orders of an input are accepted whole or not at all: what refuses those that are not.

A file is looked through before it is read, so that an order whose rows come in several places is
refused whole. A pipe cannot be read twice: there the first rows may have been charged when the
others come. They are refused, and the order is named as one that was charged in part.
"""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING, Protocol

from typing_extensions import override

from services.producer.sources.seen_ids import SeenIds
from services.producer.sources.source import Accepted, Rejected
from shared.errors import Reason
from shared.ids import ID_LENGTH

if TYPE_CHECKING:
    from collections.abc import Iterable

    from services.producer.sources.notes import Notes
    from services.producer.sources.source import Source

_APART = "the rows of an order must follow each other, each of them once; sort by order_id"
REJECTED_BEFORE = Reason("order_id", "was rejected before in this input; mend it there")


class Guard(Protocol):
    """Refuses orders that are not whole."""

    def check(self, found: Accepted | Rejected, order_id: str) -> Iterable[Accepted | Rejected]:
        """Let an order pass, or refuse it."""

    def spoil(self, order_id: str) -> None:
        """Have an id refused that stands where nobody can tell whether it is one."""


class LookedThrough(Guard):
    """For a file whose ids are known.

    Args:
        lines: Those on which an order's rows begin, for each whose rows do so twice or more.
    """

    def __init__(self, lines: dict[str, list[int]]) -> None:
        self._lines_apart = lines
        self._told: set[str] = set()

    @override
    def check(self, found: Accepted | Rejected, order_id: str) -> Iterable[Accepted | Rejected]:
        # It is refused once, where it begins.
        lines = self._lines_apart.get(order_id)
        if lines is None:
            return (found,)
        if order_id in self._told:
            return ()
        self._told.add(order_id)
        apart = Reason(f"lines {' and '.join(map(str, lines))}", _APART)
        others = found.reasons if isinstance(found, Rejected) else []
        return (Rejected(found.source_line, order_id[:ID_LENGTH] or None, [apart, *others]),)

    @override
    def spoil(self, order_id: str) -> None:
        """Do nothing: they were counted when the file was looked through."""


class Remembered(Guard):
    """For a pipe: remembers the ids that have come, by what became of them."""

    def __init__(self, notes: Notes) -> None:
        self._notes = notes
        self._accepted = SeenIds()
        self._rejected = SeenIds()

    @override
    def check(self, found: Accepted | Rejected, order_id: str) -> Iterable[Accepted | Rejected]:
        # Every part after the first is refused.
        if order_id in self._rejected:
            if isinstance(found, Accepted):
                found = Rejected(found.source_line, found.order.order_id, [REJECTED_BEFORE])
        elif order_id in self._accepted:
            self._notes.charge_in_part(order_id)
            self._rejected.add(order_id)
            apart = Reason(f"line {found.source_line.line}", f"{_APART}: others came before")
            others = found.reasons if isinstance(found, Rejected) else []
            found = Rejected(found.source_line, order_id[:ID_LENGTH] or None, [apart, *others])
        elif isinstance(found, Accepted):
            self._accepted.add(order_id)
        else:
            self._rejected.add(order_id)
        return (found,)

    @override
    def spoil(self, order_id: str) -> None:
        if order_id:
            self._rejected.add(order_id)

    def close(self) -> None:
        """Forget them."""
        self._accepted.close()
        self._rejected.close()


def refuse_again(source: Source) -> Source:
    """Refuse what comes under an id that was rejected before: for sources of whole orders."""
    with closing(SeenIds()) as rejected:
        for found in source:
            if isinstance(found, Rejected):
                if found.order_id is not None:
                    rejected.add(found.order_id)
            elif rejected and isinstance(found, Accepted) and found.order.order_id in rejected:
                yield Rejected(found.source_line, found.order.order_id, [REJECTED_BEFORE])
                continue
            yield found
