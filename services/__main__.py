"""The entry point. It imports next to nothing: every worker process imports it again."""

from __future__ import annotations

import atexit
import sys

from shared.collector import collect_seldom

collect_seldom()  # before all that the command, or the worker, will import


def main() -> None:
    """Run the command line; Ctrl-C before a command handles it is no traceback."""
    # Before multiprocessing registers its own: the last registered runs first.
    atexit.register(_end_resource_tracker)
    try:
        from services.cli import app

        app()
    except KeyboardInterrupt:
        sys.exit(130)


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
