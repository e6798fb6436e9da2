"""Rejected orders, as JSON Lines: where each stood, and why it was refused."""

from __future__ import annotations

import json
import os
from collections import Counter
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING

from shared.errors import ConfigurationError, OutputUnavailable
from shared.texts import legible

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from services.producer.sources.source import Rejected

_BEGINNING = b'{"file": '

KINDS_COUNTED = 1000
"""Kinds of reasons that are told apart; names of unknown fields could be endless."""


class Rejects:
    """The file of rejected orders, and a count of their reasons.

    Args:
        path: Where to write.
        is_wanted: Whether to write a file even if nothing is rejected.

    Raises:
        ConfigurationError: The file cannot be written.
    """

    def __init__(self, path: Path, *, is_wanted: bool) -> None:
        self.path = path
        self.count = 0
        self.kinds: Counter[str] = Counter()
        self._file: IO[str] | None = None
        if is_wanted:
            self._open()

    def add(self, rejected: Rejected) -> None:
        """Write one down.

        Raises:
            ConfigurationError: The file cannot be made.
            OutputUnavailable: It takes no more.
        """
        file = self._file or self._open()
        line = {
            "file": rejected.source_line.file,
            "line": rejected.source_line.line,
            "order_id": rejected.order_id and legible(rejected.order_id),
            "reasons": [legible(str(reason)) for reason in rejected.reasons],
        }
        with self._writing():
            file.write(json.dumps(line) + "\n")
        self.count += 1
        for kind in {legible(reason.kind, 160) for reason in rejected.reasons}:
            if kind in self.kinds or len(self.kinds) < KINDS_COUNTED:
                self.kinds[kind] += 1

    def flush(self) -> None:
        """Bring what was written to the file.

        Raises:
            OutputUnavailable: It takes no more.
        """
        if self._file is not None:
            with self._writing():
                self._file.flush()

    def close(self) -> None:
        """Close the file, if there is one.

        Raises:
            OutputUnavailable: It takes no more.
        """
        if self._file is not None:
            with self._writing():
                self._file.close()

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise OutputUnavailable(
                f"rejected orders cannot be written to {self.path}: {error.strerror}; "
                "what was accepted is kept: run again with --rejects and another file"
            ) from None

    def _open(self) -> IO[str]:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._spare_others()
            # For its owner alone, as the ledger is: what customers order is in it.
            flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
            self._file = os.fdopen(os.open(self.path, flags, 0o600), "w", encoding="utf-8")
        except OSError as error:
            raise ConfigurationError(
                f"--rejects {self.path}: cannot be written: {error.strerror}; name another file"
            ) from None
        return self._file

    def _spare_others(self) -> None:
        """Let nothing be emptied but what an earlier run has written here: a ledger, an input."""
        if self.path.is_file():
            with self.path.open("rb") as there:
                beginning = there.read(len(_BEGINNING))
            if beginning and beginning != _BEGINNING:
                raise ConfigurationError(
                    f"--rejects {self.path}: is there already, and holds something else; "
                    "name another file"
                )
