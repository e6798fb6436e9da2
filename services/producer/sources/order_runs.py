"""Looks through a CSV file for orders whose rows come in several places, before it is read.

It reads ids alone, most of them with one expression for a quarter of a megabyte. What it keeps is
a hash for each order, and beyond a bound those lie in a temporary file: memory stays flat.
"""

from __future__ import annotations

import re
import tempfile
from array import array
from collections import Counter
from contextlib import closing, suppress
from typing import IO, TYPE_CHECKING

from services.producer.sources.csv_parts import may_come_apart
from services.producer.sources.csv_quotes import Joiner
from services.producer.sources.csv_rows import INVISIBLE, first_column
from services.producer.sources.source import FLUSH, CutOff
from services.producer.sources.streams import LINE_BYTES, LineSplitter
from shared.errors import InputError, OutputUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from services.producer.sources.source import Flush
    from services.producer.sources.streams import Line

    Bytes = Iterator[bytes | Flush]

MOST_APART = 100_000
"""Orders in several places that are named one by one; of a file with more nothing is accepted."""

MOST_IN_MEMORY = 1_000_000
"""Hashes that are kept in memory, at 8 bytes each."""

_DRAWERS = 256
_INVISIBLE = INVISIBLE.encode("ascii", "ignore")
_ODD = re.compile(rb"[\x00-\x1f\x7f'=]")
_RUN = re.compile(rb"\n([^,\n]*)[^\n]*(?:\n\1(?=[,\n])[^\n]*)*")


def find_apart(file: str, open_again: Callable[[], Bytes]) -> dict[str, list[int]]:
    """Find the orders whose rows do not follow each other: id, and the first two lines.

    Args:
        file: What to call it.
        open_again: Reads the file from its beginning.

    Raises:
        InputError: There are too many.
        OutputUnavailable: There is no room for temporary files.
        Stopped: As the file's reader does.
    """
    with closing(_Hashes()) as hashes:
        for names in _Names().of(open_again()):
            hashes.add(names)
        twice = hashes.twice()
    if len(twice) > MOST_APART:
        raise InputError(
            f"{file}: the rows of more than {MOST_APART:,} orders do not follow each other; "
            "sort them by order_id"
        )
    if not twice:
        return {}
    begun: dict[str, list[int]] = {}
    for name, line in _Names().with_lines(open_again()):
        if hash(name) in twice:
            lines = begun.setdefault(name.decode(errors="replace"), [])
            if len(lines) < 2:  # noqa: PLR2004  two are enough to find the others
                lines.append(line)
    return {name: lines for name, lines in begun.items() if len(lines) > 1}


class _Names:
    """Reads the ids of a file, each once for the rows that follow each other."""

    def __init__(self) -> None:
        self._splitter = LineSplitter(keeps_rest=True)
        self._joiner = Joiner()
        self._latest: bytes | None = None

    def of(self, content: Bytes) -> Iterator[list[bytes]]:
        """Yield them by the hundred."""
        rest = b""
        for chunk in _until_cut(content):
            if not self._splitter.is_between:
                yield [name for name, _ in self._take(self._splitter.feed(chunk))]
                continue
            whole, _, rest = (rest + chunk).rpartition(b"\n")
            names = self._of_plain(whole)
            if names is None:
                lines = self._splitter.feed(whole + b"\n" if whole else b"")
                names = [name for name, _ in self._take(lines)]
            yield names
            if len(rest) > LINE_BYTES:
                yield [name for name, _ in self._take(self._splitter.feed(rest))]
                rest = b""
        yield [name for name, _ in self._take(self._splitter.feed(rest))]
        yield [name for name, _ in self._end()]

    def with_lines(self, content: Bytes) -> Iterator[tuple[bytes, int]]:
        """Yield them with the lines on which they begin."""
        for chunk in _until_cut(content):
            yield from self._take(self._splitter.feed(chunk))
        yield from self._end()

    def _of_plain(self, rows: bytes) -> list[bytes] | None:
        """Read rows in which nothing is unusual; None if something is."""
        if not self._joiner.is_between or b'"' in rows or b"order_id" in rows:
            return None
        if may_come_apart(rows):
            return None
        names = [name.strip(_INVISIBLE) for name in _RUN.findall(b"\n%b\n" % rows)]
        del names[-1]  # what follows the last line end
        together = b"".join(names)
        if not all(names) or not together.isascii() or _ODD.search(together):
            return None
        if names[:1] == [self._latest]:
            del names[0]
        if names:
            self._latest = names[-1]
        return names

    def _take(self, lines: Iterable[Line]) -> Iterator[tuple[bytes, int]]:
        for line in lines:
            yield from self._of_rows(self._joiner.take(line))

    def _end(self) -> Iterator[tuple[bytes, int]]:
        yield from self._take(self._splitter.end())
        with suppress(CutOff):
            yield from self._of_rows(self._joiner.end())

    def _of_rows(self, rows: Iterable[Line]) -> Iterator[tuple[bytes, int]]:
        for row in rows:
            name = first_column(row)
            if name is None:
                continue
            if name and name != self._latest:
                yield name, row.number
            self._latest = name


def _until_cut(content: Bytes) -> Iterator[bytes]:
    """Read as far as it goes: whoever reads it again says why it ended."""
    try:
        for chunk in content:
            if chunk is not FLUSH:
                yield chunk
    except CutOff:
        return


class _Hashes:
    """Hashes in drawers, by some of their bits: equal ones lie in the same."""

    def __init__(self) -> None:
        self._drawers = [array("q") for _ in range(_DRAWERS)]
        self._count = 0
        self._file: IO[bytes] | None = None
        self._written: list[list[tuple[int, int]]] = [[] for _ in range(_DRAWERS)]

    def add(self, names: list[bytes]) -> None:
        """Add the hashes of ids."""
        puts = [drawer.append for drawer in self._drawers]
        for known in map(hash, names):
            puts[known % _DRAWERS](known)
        self._count += len(names)
        if self._count > MOST_IN_MEMORY:
            try:
                self._write_down()
            except OSError as error:
                raise OutputUnavailable(
                    f"the ids of a long file cannot be kept in the temporary folder: "
                    f"{error.strerror}; make room, or name another one in TMPDIR"
                ) from None

    def twice(self) -> set[int]:
        """Find those that were added twice or more, up to one more than are wanted."""
        found: set[int] = set()
        for number in range(_DRAWERS):
            drawer = self._whole(number)
            if len(set(drawer)) < len(drawer):
                found.update(known for known, count in Counter(drawer).items() if count > 1)
            if len(found) > MOST_APART:
                break
        return found

    def close(self) -> None:
        """Forget them."""
        if self._file is not None:
            self._file.close()

    def _write_down(self) -> None:
        if self._file is None:
            self._file = tempfile.TemporaryFile()  # noqa: SIM115  see close()
        for drawer, written in zip(self._drawers, self._written, strict=True):
            written.append((self._file.tell(), len(drawer)))
            drawer.tofile(self._file)
            del drawer[:]
        self._count = 0

    def _whole(self, number: int) -> array[int]:
        drawer = self._drawers[number]
        if self._file is not None:
            for start, count in self._written[number]:
                self._file.seek(start)
                drawer.fromfile(self._file, count)
        return drawer
