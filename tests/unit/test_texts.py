"""Texts from outside become one legible, short line, whatever they are."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.texts import MOST, legible, legible_lines, of_error, said, shown


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("card refused: é 日本 👍 \\ '", "card refused: é 日本 👍 \\ '"),
        ("a\tb\r\nc\0", r"a\tb\r\nc\x00"),
        ("\x1b[31m\x07\x7f\x9b", r"\x1b[31m\x07\x7f\x9b"),
        (
            "1\u202e2\u2066\u200b\ufeff\u2028\u2029\x85",
            r"1\u202e2\u2066\u200b\ufeff\u2028\u2029\x85",
        ),
        ("half \ud83d of \udcff", r"half \ud83d of \udcff"),
        ("\U000e0041", r"\U000e0041"),
        ("1\u202f000\xa0€\u3000", "1\u202f000\xa0€\u3000"),
        ("", ""),
    ],
)
def test_what_does_not_print_is_escaped(text: str, expected: str) -> None:
    assert legible(text) == expected


@given(st.text(st.characters(), max_size=900), st.integers(40, 600))
def test_a_legible_text_is_one_short_line_and_stays_as_it_is(text: str, most: int) -> None:
    found = legible(text, most)
    assert len(found) <= most
    assert len(found.splitlines()) <= 1
    assert found.encode().decode() == found
    assert legible(found, most) == found


def test_what_is_cut_says_how_much_is_missing() -> None:
    found = legible("A" * 5_000_000)
    kept, _, missing = found.partition("… (")
    assert len(found) == MOST
    assert int(missing.removesuffix(" more)").replace(",", "")) + len(kept) == 5_000_000
    escaped = legible("\0" * 300)
    assert escaped.startswith("\\x00" * 100)
    assert escaped.endswith(f"… ({300 - escaped.count('x00')} more)")


class Liar(str):
    """A text that answers what it likes."""

    __slots__ = ()

    def __len__(self) -> int:
        return 1

    def isprintable(self) -> bool:
        return True

    def __str__(self) -> str:
        return self


class Broken:
    def __str__(self) -> str:
        raise SystemExit

    __repr__ = __str__


def test_what_a_value_says_of_itself_is_not_trusted() -> None:
    assert len(said(Liar("\0" * 1000))) <= MOST
    assert type(said(Liar("x"))) is str
    assert said(Broken()) == "a Broken that cannot be written: SystemExit"
    assert shown(Broken()) == "a Broken that cannot be shown: SystemExit"
    assert shown("\x1b") == r"'\x1b'"
    assert of_error(ValueError("a\nb")) == r"ValueError: a\nb"
    assert of_error(ValueError()) == "ValueError"


def test_a_traceback_keeps_its_lines() -> None:
    assert legible_lines("a\n  b\x1b\nc") == "a\n  b\\x1b\nc"
    assert len(legible_lines("x\n" * 5000).splitlines()) <= 200
