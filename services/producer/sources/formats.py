"""What an input is, by its first line: CSV or JSON Lines of orders, or something else by name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from services.producer.sources.columns import COLUMNS
from services.producer.sources.csv_rows import bare, split_row
from shared.errors import InputError

if TYPE_CHECKING:
    from services.producer.sources.streams import Line

_HEADER = ",".join(COLUMNS)
_UNZIP = "take the orders out of it, as CSV or JSON Lines"
_AS_CSV = "save it as CSV in UTF-8 (in a spreadsheet: CSV UTF-8)"
_ENCODED = "convert it: iconv -f {0} -t UTF-8"
_SIGNS = {
    b"\xff\xfe\0\0": ("UTF-32", _ENCODED.format("UTF-32")),
    b"\0\0\xfe\xff": ("UTF-32", _ENCODED.format("UTF-32")),
    b"\xff\xfe": ("UTF-16", _ENCODED.format("UTF-16")),
    b"\xfe\xff": ("UTF-16", _ENCODED.format("UTF-16")),
    b"PK\x03\x04": ("a spreadsheet or a zip archive", _AS_CSV),
    b"\xd0\xcf\x11\xe0": ("a spreadsheet", _AS_CSV),
    b"%PDF": ("a PDF document", _UNZIP),
    b"BZh": ("compressed by bzip2", "unpack it: bunzip2"),
    b"\xfd7zXZ": ("compressed by xz", "unpack it: unxz"),
    b"\x28\xb5\x2f\xfd": ("compressed by zstd", "unpack it: unzstd"),
    b"7z\xbc\xaf": ("a 7-Zip archive", _UNZIP),
    b"SQLite format 3": ("an SQLite database", _UNZIP),
}
_TEXTS = {
    "<": ("a page of HTML or XML, perhaps an error that was saved", "fetch it again"),
    "[": ("a JSON array", "write one order a line: jq -c '.[]'"),
    "{": ("JSON", "name it .jsonl, with one order a line"),
}
_WIDE = {  # where the zeros are in the first characters, which are ASCII
    b"\1\0": ("UTF-16", _ENCODED.format("UTF-16LE")),
    b"\0\1": ("UTF-16", _ENCODED.format("UTF-16BE")),
    b"\1\0\0\0": ("UTF-32", _ENCODED.format("UTF-32LE")),
    b"\0\0\0\1": ("UTF-32", _ENCODED.format("UTF-32BE")),
}
_SEPARATORS = {";": "semicolons", "\t": "tabs", "|": "bars"}


def check_bytes(file: str, line: Line, wanted: str) -> None:
    """Refuse an input that is no text in UTF-8, whatever its name says.

    Raises:
        InputError: Says what it is, and what can be done.
    """
    head = line.text
    found = next((what for sign, what in _SIGNS.items() if head.startswith(sign)), None)
    shape = bytes(0 if byte == 0 else 1 for byte in head[:8])
    for pattern, what in _WIDE.items():
        if found is None and len(shape) > len(pattern) and shape in pattern * 4:
            found = what if shape.startswith(pattern) else None
    if found is not None:
        raise InputError(
            f"{file}, line {line.number}: {wanted} in UTF-8, and this is {found[0]}; {found[1]}"
        )


def check_json(file: str, line: Line) -> None:
    """Refuse a JSON array by its first line.

    Raises:
        InputError: Says so, and what can be done.
    """
    check_bytes(file, line, "it must be JSON Lines")
    text = line.text.strip()
    if text.startswith((b"[{", b"[ {")) or (text == b"[" and not line.is_last):
        raise InputError(
            f"{file}, line {line.number}: JSON Lines has one order a line, and this is a JSON "
            "array; write it so: jq -c '.[]'"
        )


def check_header(file: str, line: Line) -> None:
    """Refuse a CSV whose first line is not the header.

    Raises:
        InputError: Says how it differs.
    """
    wanted = f"the header must be {_HEADER}"
    check_bytes(file, line, wanted)
    text = line.text.decode(errors="replace")
    columns = split_row(text) or []
    if tuple(columns) != COLUMNS:
        raise InputError(
            f"{file}, line {line.number}: {wanted}, not {text[:100]!r}{_difference(text, columns)}"
        )


def _difference(text: str, columns: list[str]) -> str:
    for sign, (what, remedy) in _TEXTS.items():
        if text.lstrip().startswith(sign):
            return f"; this is {what}: {remedy}"
    if "\r" in text:
        return "; its lines end in CR alone: convert them: tr '\\r' '\\n'"
    for separator, name in _SEPARATORS.items():
        if len(text.split(separator)) >= len(COLUMNS):
            return f"; its columns are separated by {name}: save it with commas"
    plain = [bare(name).lower() for name in columns]
    lacks = [name for name in COLUMNS if name not in plain]
    others = [name for name in columns if bare(name).lower() not in COLUMNS]
    if len(lacks) > len(COLUMNS) // 2:
        return ""
    if lacks or others:
        parts = [f"it lacks {', '.join(lacks)}"] if lacks else []
        parts += [f"it has {', '.join(map(repr, others[:7]))} besides"] if others else []
        return f"; {' and '.join(parts)}"[:300]
    number, wanted, found = next(
        (number, *both)
        for number, both in enumerate(zip(COLUMNS, columns, strict=False), 1)
        if both[0] != both[1]
    )
    return f"; column {number} must be {wanted}, not {found!r}"
