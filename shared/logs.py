"""Logs: events with fields, on standard error; for people on a terminal, as JSON elsewhere.

They name orders, partitions, workers and files, and never carry an order's content. structlog is
imported by the first event, since most runs have nothing to log.
"""

from __future__ import annotations

import json
import sys
from contextlib import suppress
from functools import cache
from typing import TYPE_CHECKING, Any

from shared import standard_error
from shared.texts import legible, legible_lines

if TYPE_CHECKING:
    from collections.abc import MutableMapping

    from shared.settings import Settings

_format = "auto"


class Logger:
    """A named source of events."""

    def __init__(self, name: str) -> None:
        self._name = name

    def info(self, event: str, **fields: object) -> None:
        """Something worth knowing happened."""
        _say(self._name, "info", event, fields)

    def warning(self, event: str, **fields: object) -> None:
        """Something went wrong and was dealt with."""
        _say(self._name, "warning", event, fields)

    def exception(self, event: str, **fields: object) -> None:
        """A bug showed itself; log it with the traceback of the exception being handled."""
        _say(self._name, "exception", event, fields)


def _say(name: str, level: str, event: str, fields: dict[str, object]) -> None:
    """Log an event; who does is not to fail of it, be it that nothing can be imported any more."""
    try:
        getattr(_structlog(name), level)(event, **fields)
    except Exception as error:  # noqa: BLE001  no descriptor, no memory, no depth of recursion
        with suppress(Exception):
            plain = {field: legible(str(value)) for field, value in fields.items()} | {
                "service": name,
                "event": event,
                "level": level,
                "unformatted": type(error).__name__,
            }
            _Lines().msg(json.dumps(plain))


class _Lines:
    """Where structlog puts its lines. To say something never fails, wherever it goes."""

    def msg(self, line: str) -> None:
        with suppress(OSError, ValueError):
            sys.stderr.write(f"{line}\n")

    info = warning = error = msg


def set_up_logs(settings: Settings) -> None:
    """Choose the format for this process, and let nobody who reads it hold it up."""
    global _format  # noqa: PLW0603  a process has one standard error
    _format = settings.log_format
    standard_error.take_over(_tell_dropped)


def _tell_dropped(lines: int) -> None:
    Logger("logs").warning("log lines dropped", lines=lines)


@cache
def _structlog(name: str) -> Any:  # noqa: ANN401  structlog's bound loggers are untyped
    import structlog

    if not structlog.is_configured():
        console = _format == "console" or (_format == "auto" and sys.stderr.isatty())
        renderer: Any = (
            structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)
            if console
            else structlog.processors.JSONRenderer()
        )
        structlog.configure(
            processors=[
                structlog.processors.add_log_level,
                structlog.processors.TimeStamper(fmt="iso", utc=True),
                structlog.processors.format_exc_info,
                _make_legible,
                renderer,
            ],
            logger_factory=lambda *_: _Lines(),
        )
    return structlog.get_logger().bind(service=name)


def _make_legible(
    _logger: object, _method: str, event: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    """Let no text from outside steer a terminal or fill a disk; a traceback keeps its lines."""
    for name, value in event.items():
        if isinstance(value, str):
            event[name] = legible_lines(value) if name == "exception" else legible(value)
    return event
