"""How much is in a piece of JSON, found out before it is parsed: counts come before contents.

Of a mebibyte a parser can make half a million values, and a complaint about each; that would hold
up everybody for seconds. Counting separators costs a thousandth of it.
"""

from __future__ import annotations

from shared.errors import InvalidOrder, Reason

MOST_ITEMS = 500
MOST_VALUES = 10_000
"""Most values in an order, five times what the largest valid one has: unknown fields are named."""

_TOO_MANY_ITEMS = Reason("items", f"must have at most {MOST_ITEMS} entries")
_TOO_MANY_VALUES = Reason("order", f"must have at most {MOST_VALUES:,} values")


def check_weight(raw: bytes | str) -> None:
    """Refuse an order that has too much in it to be looked at.

    Raises:
        InvalidOrder: It has too many items, or other values.
    """
    if len(raw) < 2 * MOST_VALUES:
        return  # a value and its separator are two bytes
    text = raw.encode(errors="replace") if isinstance(raw, str) else raw
    if _values(text) <= MOST_VALUES:
        return
    text = _without_strings(text)
    if _values(text) > MOST_VALUES:
        too_many = text.count(b"{") > MOST_ITEMS + 1  # an order has objects for its items alone
        raise InvalidOrder([_TOO_MANY_ITEMS if too_many else _TOO_MANY_VALUES])


def _values(text: bytes) -> int:
    """At least as many as there are: each follows a comma, or is the first in something."""
    return text.count(b",") + text.count(b"[") + text.count(b"{")


def _without_strings(text: bytes) -> bytes:
    """Leave out what is in quotes. Backslashes are in strings only, and escape from the left."""
    if b"\\" in text:
        text = text.replace(b"\\\\", b"").replace(b'\\"', b"")
    return b"".join(text.split(b'"')[::2])
