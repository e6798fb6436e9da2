"""Texts from outside made legible and short, before they reach a terminal, page, log or ledger.

What a gateway, a driver or another program says may be of any length, and may hold characters that
steer a terminal, turn a line's direction or are no characters at all.
"""

from __future__ import annotations

import unicodedata

MOST = 500
"""Characters that a text from outside is cut to."""

LINES = 200
"""Lines of a traceback that are kept."""

LINE = 2000
"""Characters that a line of our own is cut to, in which such texts may stand."""


def legible(text: str, most: int = MOST) -> str:
    """Write a text as one line: what is no printable character as an escape, and cut short.

    A legible text stays as it is, so it does no harm to make it so once more.

    Args:
        text: Any text.
        most: Characters that the result has at most; one that was cut says how many are missing.
    """
    text = str.__str__(text)  # a kind of text of somebody's own might answer what it likes
    if len(text) <= most and text.isprintable():
        return text
    escaped = [_escape(character) for character in text[: most + 1]]
    if len(escaped) <= most and sum(map(len, escaped)) <= most:
        return "".join(escaped)
    room = most - len(_mark(len(text)))
    kept: list[str] = []
    for piece in escaped:
        room -= len(piece)
        if room < 0:
            break
        kept.append(piece)
    return "".join(kept) + _mark(len(text) - len(kept))


def said(value: object, most: int = MOST) -> str:
    """Ask a value for its text, which is somebody else's code, and make that legible."""
    try:
        return legible(str(value), most)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # noqa: BLE001  whatever it raises, it says nothing
        return f"a {_name(value)} that cannot be written: {_name(error)}"


def shown(value: object, most: int = MOST) -> str:
    """Ask a value how it looks in code, and make that legible."""
    try:
        return legible(repr(value), most)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # noqa: BLE001  as above
        return f"a {_name(value)} that cannot be shown: {_name(error)}"


def of_error(error: BaseException, most: int = MOST) -> str:
    """Write an error's kind and what it says."""
    name, text = _name(error), said(error, most)
    return legible(f"{name}: {text}" if text else name, most)


def legible_lines(text: str) -> str:
    """Make each line of a traceback legible; of very many, the last ones are those that matter."""
    return "\n".join([legible(line) for line in text.split("\n")[-LINES:]])


def _mark(missing: int) -> str:
    return f"… ({missing:,} more)"


def _name(value: object) -> str:
    # As the interpreter knows it, whatever the class makes of the attribute.
    return legible(type.__dict__["__name__"].__get__(type(value)), 100)


def _escape(character: str) -> str:
    # Blanks of every width are harmless. The rest that does not print are controls, marks that turn
    # or join without being seen, halves of characters, and what no font knows.
    if character.isprintable() or unicodedata.category(character) == "Zs":
        return character
    return character.encode("unicode_escape").decode("ascii")
