"""What an id may consist of, written once: as a pattern for programs, in words for people."""

from __future__ import annotations

_CHARACTERS = ("A-Z", "a-z", "0-9", ".", "_", ":", "-")

ID_LENGTH = 64
ID_CHARACTER = f"[{''.join(_CHARACTERS)}]"
"""The pattern of one character of an id."""

ID_PATTERN = f"^{ID_CHARACTER}{{1,{ID_LENGTH}}}$"
ID_WORDS = " ".join(_CHARACTERS)
"""The characters of an id, as they are told: ``must consist of`` these."""
