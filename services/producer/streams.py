"""Bytes from files, pipes and gzip, as lines; memory stays flat whatever comes.

A regular file is always ready. A pipe or a terminal is waited on together with a wake-up
descriptor, so that a signal ends the wait and a lull lets gathered orders leave.
"""

from __future__ import annotations

import os
import selectors
import stat
import zlib
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from services.producer.source import PAUSE, CutOff, Stopped, _Pause

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
    """

    number: int
    text: bytes
    is_too_long: bool = False
    is_last: bool = False
    cut: str | None = None


def chunks(descriptor: int, wake: int) -> Iterator[bytes | _Pause]:
    """Read a descriptor to its end; yield PAUSE before a wait.

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
                yield PAUSE
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


def decompressed(stream: Iterator[bytes | _Pause]) -> Iterator[bytes | _Pause]:
    """Unpack a stream if it is gzip, and pass it through if not.

    Raises:
        CutOff: The compressed data is damaged or ends too early.
    """
    head = b""
    for chunk in stream:
        if chunk is PAUSE:
            yield PAUSE
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


def _unpack(head: bytes, stream: Iterator[bytes | _Pause]) -> Iterator[bytes | _Pause]:
    member = zlib.decompressobj(wbits=31)
    data: bytes | _Pause | None = head
    while data is not None:
        if data is PAUSE:
            yield PAUSE
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
                data = more.lstrip(b"\0") if more is not PAUSE else b""
            member = zlib.decompressobj(wbits=31)
        elif not data:
            data = next(stream, None)
    raise CutOff("the gzip data ends in the middle")


def lines(stream: Iterator[bytes | _Pause]) -> Iterator[Line | _Pause]:
    """Split a stream into lines, with any of the usual line ends; drop a byte-order mark.

    Raises:
        CutOff: As the stream does, with the number of the line it ended in; what there is of
            that line has been yielded.
    """
    splitter = LineSplitter()
    try:
        for chunk in stream:
            if chunk is PAUSE:
                yield PAUSE
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

    def __init__(self) -> None:
        self.number = 1
        self._rest = b""
        self._is_skipping = False

    def feed(self, chunk: bytes) -> Iterator[Line]:
        """Yield the lines that end in this piece; one that has become too long, too."""
        *whole, tail = chunk.split(b"\n")
        for piece in whole:
            text, self._rest = self._rest + piece, b""
            if not self._is_skipping:
                yield _line(self.number, text)
            self._is_skipping = False
            self.number += 1
        if self._is_skipping:
            return
        self._rest += tail
        if len(self._rest) > LINE_BYTES:
            yield Line(self.number, self._rest[:200], is_too_long=True)
            self._rest, self._is_skipping = b"", True

    def end(self) -> Iterator[Line]:
        """Yield the last line, if it has no line end of its own."""
        if self._rest:
            yield _line(self.number, self._rest)
            self._rest = b""


def _line(number: int, text: bytes) -> Line:
    if number == 1:
        text = text.removeprefix(b"\xef\xbb\xbf")
    if len(text) > LINE_BYTES:
        return Line(number, text[:200], is_too_long=True)
    return Line(number, text.removesuffix(b"\r"))
