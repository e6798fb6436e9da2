"""The entry point. It imports next to nothing: every worker process imports it again."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line; Ctrl-C before a command handles it is no traceback."""
    try:
        from services.cli import app

        app()
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
