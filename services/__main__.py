"""The entry point. It imports next to nothing: every worker process imports it again."""

from __future__ import annotations

import atexit
import os
import signal
import sys

from shared.collector import collect_seldom

collect_seldom()  # before all that the command, or the worker, will import


def main() -> None:
    """Run the command line; Ctrl-C before a command handles it is no traceback."""
    _open_standard_streams()
    # Before multiprocessing registers its own: the last registered runs first.
    atexit.register(_end_resource_tracker)
    try:
        from services.cli.app import app
        from services.cli.common import run_command_line

        run_command_line(app)
    except KeyboardInterrupt:
        sys.exit(130)
    finally:
        # All is said and done: from now on a Ctrl-C could only interrupt Python's own tidying up.
        if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            signal.signal(signal.SIGINT, signal.SIG_DFL)


def _open_standard_streams() -> None:
    """Let no file of ours get the number of a standard stream that was closed, as by ``2>&-``.

    What is said on standard error would be written into it.
    """
    for number, mode in ((0, os.O_RDONLY), (1, os.O_RDONLY), (2, os.O_WRONLY)):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, mode)  # gets the lowest number that is free
    if sys.stdout is None:
        # Nothing can be written there, and a command that prints something says so.
        sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    if sys.stderr is None:
        sys.stderr = open(2, "w", encoding="utf-8", closefd=False)  # noqa: SIM115


def _end_resource_tracker() -> None:
    """Let multiprocessing's helper process end before this one, and reap it: no orphan, no zombie.

    It would notice the end of this process by itself, but only afterwards.
    """
    module = sys.modules.get("multiprocessing.resource_tracker")
    stop = getattr(getattr(module, "_resource_tracker", None), "_stop", None)
    if stop is not None:
        stop()


if __name__ == "__main__":
    main()
