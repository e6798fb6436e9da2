"""Bytes from files, pipes and gzip, as lines; memory stays flat whatever comes.

A regular file is always ready. A pipe or a terminal is waited on together with a wake-up
descriptor, so that a signal ends the wait and a lull lets gathered orders leave.
"""

from __future__ import annotations

import os
import select
import selectors
import stat
import zlib
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from services.producer.sources.source import FLUSH, CutOff, Flush, Stopped

if TYPE_CHECKING:
    from collections.abc import Iterator

CHUNK_BYTES = 256 * 1024
LINE_BYTES = 1024 * 1024
"""The longest line that is read: an order of 500 items takes a quarter of it at most."""

_GZIP_MAGIC = b"\x1f\x8b"


class Line(NamedTuple):
    """A line without its end. One that was too long has only its beginning.

    Attributes:
        is_last: It ended with the input, without a line end of its own.
        cut: Why the input broke off inside this line, if it did.
        goes_on: More of this line follows, since it is too long for one piece.
        is_rest: It is such a piece, or lies in a row that is too long.
        last: The line on which its row ends, if not this one; see ``csv_quotes``.
        doubt: The line from which on nobody can tell what is quoted, if that is so.
        parted: The character that may have ended the row in mid-line; see ``csv_parts``.
    """

    number: int
    text: bytes
    is_too_long: bool = False
    is_last: bool = False
    cut: str | None = None
    goes_on: bool = False
    is_rest: bool = False
    last: int = 0
    doubt: int = 0
    parted: bytes = b""


def chunks(descriptor: int, wake: int) -> Iterator[bytes | Flush]:
    """Read a descriptor to its end; yield FLUSH before a wait.

    Raises:
        Stopped: ``wake`` became readable first.
        CutOff: The device fails.
    """
    if stat.S_ISREG(os.fstat(descriptor).st_mode):
        # Always ready. A selector that takes it all the same may not tell its end.
        yield from iter(partial(_read, descriptor), b"")
        return
    with selectors.DefaultSelector() as selector:
        try:
            selector.register(descriptor, selectors.EVENT_READ)
        except PermissionError:  # epoll refuses what is always ready: /dev/null
            yield from iter(partial(_read, descriptor), b"")
            return
        selector.register(wake, selectors.EVENT_READ)
        while True:
            ready = selector.select(0)
            if not ready:
                yield FLUSH
                ready = selector.select()
            if any(key.fd == wake for key, _ in ready):
                raise Stopped
            chunk = _read(descriptor)
            if not chunk:
                return
            yield chunk


def _read(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, CHUNK_BYTES)
    except OSError as error:
        raise CutOff(f"cannot be read on ({error.strerror})") from None


def decompressed(stream: Iterator[bytes | Flush]) -> Iterator[bytes | Flush]:
    """Unpack a stream if it is gzip, and pass it through if not.

    Raises:
        CutOff: The compressed data is damaged or ends too early.
    """
    head = b""
    for chunk in stream:
        if chunk is FLUSH:
            yield FLUSH
            continue
        head += chunk
        if len(head) >= len(_GZIP_MAGIC):
            break
    if not head.startswith(_GZIP_MAGIC):
        if head:
            yield head
        yield from stream
        return
    yield from _unpack(head, stream)


def _unpack(head: bytes, stream: Iterator[bytes | Flush]) -> Iterator[bytes | Flush]:
    member = zlib.decompressobj(wbits=31)
    data: bytes | Flush | None = head
    while data is not None:
        if data is FLUSH:
            yield FLUSH
            data = next(stream, None)
            continue
        try:
            unpacked = member.decompress(data, CHUNK_BYTES)
        except zlib.error as error:
            raise CutOff(f"the gzip data is damaged ({error})") from None
        if unpacked:
            yield unpacked
        data = member.unconsumed_tail
        if member.eof:
            # Another member may follow, and padding with zeros may precede it or the end.
            data = member.unused_data.lstrip(b"\0")
            while not data:
                more = next(stream, None)
                if more is None:
                    return
                data = more.lstrip(b"\0") if more is not FLUSH else b""
            member = zlib.decompressobj(wbits=31)
        elif not data:
            data = next(stream, None)
    raise CutOff("the gzip data ends in the middle")


def file_chunks(descriptor: int, wake: int, start: int, end: int | None = None) -> Iterator[bytes]:
    """Read a regular file once more, and leave its own position where it is.

    Args:
        descriptor: The file.
        wake: See ``chunks``; below zero there is none.
        start: The first byte.
        end: The byte to stop at; None is the file's end.

    Raises:
        Stopped: ``wake`` became readable.
        CutOff: The device fails.
    """
    while end is None or start < end:
        size = CHUNK_BYTES if end is None else min(CHUNK_BYTES, end - start)
        try:
            chunk = os.pread(descriptor, size, start)
        except OSError as error:
            raise CutOff(f"cannot be read on ({error.strerror})") from None
        if not chunk:
            return
        if wake >= 0 and select.select([wake], [], [], 0)[0]:
            raise Stopped
        start += len(chunk)
        yield chunk


def lines(stream: Iterator[bytes | Flush], *, keeps_rest: bool = False) -> Iterator[Line | Flush]:
    """Split a stream into lines, with any of the usual line ends; drop a byte-order mark.

    Args:
        stream: The bytes.
        keeps_rest: Whether the rest of a line that is too long is wanted, too, piece by piece.

    Raises:
        CutOff: As the stream does, with the number of the line it ended in; what there is of
            that line has been yielded.
    """
    splitter = LineSplitter(keeps_rest=keeps_rest)
    try:
        for chunk in stream:
            if chunk is FLUSH:
                yield FLUSH
            else:
                yield from splitter.feed(chunk)
    except CutOff as cut:
        cut.line = splitter.number
        for line in splitter.end():
            yield line._replace(cut=cut.why)
        raise
    for line in splitter.end():
        yield line._replace(is_last=True)


class LineSplitter:
    """Makes lines of bytes that come in pieces.

    Attributes:
        number: The line that the next byte belongs to.
    """

    def __init__(self, *, keeps_rest: bool = False) -> None:
        self.number = 1
        self._keeps_rest = keeps_rest
        self._rest = b""
        self._is_skipping = False

    @property
    def is_between(self) -> bool:
        """Whether the next byte begins a line."""
        return not self._rest and not self._is_skipping

    def feed(self, chunk: bytes) -> Iterator[Line]:
        """Yield the lines that end in this piece; one that has become too long, too."""
        *whole, tail = chunk.split(b"\n")
        for piece in whole:
            text, self._rest = self._rest + piece, b""
            if not self._is_skipping:
                yield self._line(text)
            elif self._keeps_rest:
                yield Line(self.number, text, is_too_long=True, is_rest=True)
            self._is_skipping = False
            self.number += 1
        if self._is_skipping:
            if self._keeps_rest:
                yield Line(self.number, tail, is_too_long=True, goes_on=True, is_rest=True)
            return
        self._rest += tail
        if len(self._rest) > LINE_BYTES:
            yield self._line(self._rest)._replace(goes_on=True)
            self._rest, self._is_skipping = b"", True

    def end(self) -> Iterator[Line]:
        """Yield the last line, if it has no line end of its own."""
        if self._rest:
            yield self._line(self._rest)
            self._rest = b""

    def _line(self, text: bytes) -> Line:
        if self.number == 1:
            text = text.removeprefix(b"\xef\xbb\xbf")
        if len(text) > LINE_BYTES:
            kept = text if self._keeps_rest else text[:200]
            return Line(self.number, kept, is_too_long=True)
        return Line(self.number, text.removesuffix(b"\r"))
