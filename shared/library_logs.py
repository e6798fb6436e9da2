"""What libraries say in Python's own logs, said in ours."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from typing_extensions import override

if TYPE_CHECKING:
    from shared.logs import Logger


class _Forward(logging.Handler):
    """Hands a library's warnings on."""

    def __init__(self, log: Logger, event: str) -> None:
        super().__init__(logging.WARNING)
        self._log = log
        self._event = event

    @override
    def emit(self, record: logging.LogRecord) -> None:
        self._log.warning(self._event, message=record.getMessage())


def forward_warnings(library: str, log: Logger, event: str) -> None:
    """Say a library's warnings in a log of ours, and nowhere else; the rest is ours to say.

    Args:
        library: Its logger's name.
        log: Where they go.
        event: What they are called there.
    """
    logger = logging.getLogger(library)
    logger.handlers = [_Forward(log, event)]
    logger.propagate = False
