"""What a person should hear of an input that was read, beside its orders."""

from __future__ import annotations

from typing_extensions import override

_SHOWN = 10
_LEFT_OUT = {
    "header": "the header of a joined file",
    "empty": "what has nothing but separators in it",
}
_SPREAD = (
    "JSON Lines has one order a line, and this goes on in the next: write it so with jq -c ., or "
    "an array with jq -c '.[]'"
)


class _Some:
    """Any number of things, of which a few are shown."""

    def __init__(self) -> None:
        self._shown: list[object] = []
        self.count = 0

    def add(self, thing: object) -> None:
        self.count += 1
        if len(self._shown) < _SHOWN:
            self._shown.append(thing)

    @override
    def __str__(self) -> str:
        more = self.count - len(self._shown)
        return ", ".join(map(str, self._shown)) + (f" and {more:,} more" if more else "")


class Notes:
    """What was noted while an input was read; how much there is of it has no bearing on memory."""

    def __init__(self) -> None:
        self._left_out: dict[str, _Some] = {}
        self._spread = 0
        self._in_part = _Some()
        self._over = _Some()

    def leave_out(self, what: str, line: int) -> None:
        """Note a row that is none of an order."""
        self._left_out.setdefault(what, _Some()).add(line)

    def find_spread(self, line: int) -> None:
        """Note that an object of JSON goes on after its line."""
        self._spread = self._spread or line

    def charge_in_part(self, order_id: str) -> None:
        """Note an order that was accepted before the rest of its rows came."""
        self._in_part.add(order_id)

    def come_over(self, order_id: str) -> None:
        """Note an order of which an earlier input had other rows, and was taken in."""
        self._over.add(order_id)

    def to_tell(self, file: str) -> list[str]:
        """Say what was left out, and which line holds the beginning of an order only."""
        spread = [f"{file}, line {self._spread}: {_SPREAD}"] if self._spread else []
        return spread + [
            f"{file}, {'line' if lines.count == 1 else 'lines'} {lines}: left out {_LEFT_OUT[what]}"
            for what, lines in self._left_out.items()
        ]

    def problems(self, file: str) -> list[str]:
        """Say which orders were charged in part, or may have been."""
        found = []
        if count := self._in_part.count:
            orders = "1 order was" if count == 1 else f"{count:,} orders were"
            found.append(
                f"{file}: {orders} charged in part, for the rest of their rows came after other "
                f"orders: {self._in_part}; see to them, and sort the rows by order_id or read them "
                "from a file, which is looked at before"
            )
        if count := self._over.count:
            orders = "1 order" if count == 1 else f"{count:,} orders"
            found.append(
                f"{file}: rows of {orders} were refused, for an earlier input of this run has "
                f"other rows of the same id: {self._over}; those were taken, perhaps as a part: "
                "see to them, and join such inputs to one that is sorted by order_id"
            )
        return found
