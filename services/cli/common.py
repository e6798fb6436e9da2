"""What all commands share: settings, a snapshot to read, and how errors and output end."""

from __future__ import annotations

import errno
import io
import json
import os
import select
import sys
from contextlib import contextmanager, suppress
from functools import wraps
from typing import TYPE_CHECKING, Annotated, Any, ParamSpec, TypeVar

import typer

from services.processes.suspension import stop_between_turns
from shared.errors import OrderlyError, OutputUnavailable
from shared.texts import LINE, legible

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sqlalchemy import Connection

    from shared.ledger.ledger import Ledger
    from shared.settings import Settings

P = ParamSpec("P")
R = TypeVar("R")

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]

_OUT_OF_ROOM = {errno.EBADF, errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO}

_OUT_OF_LIMITS = {errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN}


def handling_errors(command: Callable[P, R]) -> Callable[P, R]:
    """Turn the errors raised on purpose into one line and an exit code."""

    @wraps(command)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
        with _telling():
            return command(*args, **kwargs)

    return wrapped


def run_command_line(app: Callable[[], object]) -> None:
    """Run what chooses the command, and prints something by itself, too, as for ``--help``."""
    _print_anything()
    try:
        with _telling():
            app()
    except typer.Exit as end:
        sys.exit(end.exit_code)


@contextmanager
def _telling() -> Iterator[None]:
    """Say in one line what went wrong, and end with its exit code."""
    try:
        with _writing_out():
            yield
    except OrderlyError as error:
        say(str(error))
        raise typer.Exit(error.exit_code) from None
    except BrokenPipeError:
        if not _has_no_reader(sys.stdout.fileno()):
            raise  # it was another pipe
        _drop_output()
        raise typer.Exit(0) from None
    except OSError as error:
        if error.errno not in _OUT_OF_LIMITS:
            raise
        _say_no_room(str(error.strerror))
        raise typer.Exit(1) from None
    except MemoryError:
        _say_no_room("not enough memory")
        raise typer.Exit(1) from None
    except RuntimeError as error:
        if "start new thread" not in str(error):
            raise
        _say_no_room("no more threads")
        raise typer.Exit(1) from None


def _say_no_room(what: str) -> None:
    say(f"this machine has no room for it: {what}; see to its limits (ulimit -a)")


@contextmanager
def _writing_out() -> Iterator[None]:
    """Bring out what a command printed while its fate can still be told."""
    try:
        yield
    except (OrderlyError, BrokenPipeError):
        raise
    except OSError as error:
        if error.errno in _OUT_OF_LIMITS:
            raise
        place = error.filename or "a temporary file, or shared memory in /dev/shm"
        raise OutputUnavailable(
            f"{place} cannot be used: {error.strerror or error}; see to it and run it again"
        ) from None
    finally:
        sys.stdout.flush()


class _StandardOutput(io.FileIO):
    """Standard output, whose errors can be told from those of other files."""

    def write(self, data: Any, /) -> int:  # noqa: ANN401  as its base says
        """Write what fits.

        Raises:
            OutputUnavailable: It takes no more.
        """
        try:
            return super().write(data)
        except BrokenPipeError:
            raise
        except OSError as error:
            if error.errno not in _OUT_OF_ROOM:
                raise
            _drop_output()
            if error.errno == errno.EBADF:
                raise OutputUnavailable(
                    "standard output is closed; lead it to a file or to /dev/null, and run it again"
                ) from None
            raise OutputUnavailable(
                f"standard output takes no more: {error.strerror}; make room and run it again"
            ) from None


def read_settings(*, employs: bool = False, **overrides: object) -> Settings:
    """Load the settings, and begin; options of the command line come before the environment.

    Args:
        employs: See ``begin``.
        overrides: The options.
    """
    settings = load(**overrides)
    begin(settings, employs=employs)
    return settings


def load(**overrides: object) -> Settings:
    """Load the settings of a command that changes them before it begins."""
    from shared.environment import load_settings

    return load_settings(**overrides)


def begin(settings: Settings, *, employs: bool = False) -> None:
    """Start what goes on beside the command's own work.

    Args:
        settings: The command's.
        employs: Whether it starts workers, if the settings want some.
    """
    from shared.environment import misspelled
    from shared.logs import set_up_logs

    if employs and settings.payment_workers:
        from services.pipeline.select import modules_of_workers
        from services.processes.fork_server import open_fork_server

        open_fork_server(modules_of_workers(settings))  # first, since what follows are threads
    stop_between_turns()
    set_up_logs(settings)
    for line in misspelled():
        say(line)


@contextmanager
def reading(settings: Settings) -> Iterator[tuple[Ledger, Connection]]:
    """Open the ledger that is there, and one snapshot of it."""
    from shared.ledger.ledger import open_ledger

    ledger = open_ledger(settings, create=False)
    try:
        with ledger.database.read() as connection:
            yield ledger, connection
    finally:
        ledger.database.close()


def print_json(value: Any) -> None:  # noqa: ANN401
    """Print a value as JSON, for programs."""
    print(json.dumps(value, indent=2, ensure_ascii=False))


def say(line: str) -> None:
    """Say something on standard error, in one line; if nobody can be told, that is no error."""
    with suppress(OSError, ValueError):
        print(f"orderly: {legible(' '.join(line.splitlines()), LINE)}", file=sys.stderr)


def _print_anything() -> None:
    """Let no terminal's alphabet be an error: what it lacks is printed as an escape."""
    if isinstance(sys.stderr, io.TextIOWrapper):
        sys.stderr.reconfigure(errors="backslashreplace")
    if isinstance(sys.stdout, io.TextIOWrapper):
        given = sys.stdout
        sys.stdout = io.TextIOWrapper(
            io.BufferedWriter(_StandardOutput(given.fileno(), "w", closefd=False)),
            encoding=given.encoding,
            errors="backslashreplace",
            line_buffering=given.line_buffering,
            write_through=given.write_through,
        )


def _has_no_reader(fd: int) -> bool:
    """Whether whoever read from the other end has gone."""
    ear = select.poll()
    ear.register(fd, 0)
    return any(event & (select.POLLERR | select.POLLHUP) for _, event in ear.poll(0))


def _drop_output() -> None:
    # Whoever read our output has gone, as in `orderly journal | head`. Python would complain
    # when it flushes standard output at exit: let it flush into nothing.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
