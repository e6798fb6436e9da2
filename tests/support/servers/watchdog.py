"""Ends a server when the tests are gone, however they ended, and removes its folder.

A process of its own: nothing in the tests' process runs any more once that was killed. It reads
the server's process id from a pipe whose other end closes with the tests. Standard library only,
so that it starts in no time.
"""

from __future__ import annotations

import shutil
import signal
import sys

from tests.support.eventually import eventually
from tests.support.processes import is_alive, send


def main(folder: str, number: str) -> None:
    """Wait for the pipe's end; then end the process that was named last, and tidy up.

    Args:
        folder: What to remove in the end.
        number: The signal that ends the server at once.
    """
    pid = 0
    for line in sys.stdin:
        pid = int(line)
    if pid and send(pid, int(number)):
        try:
            eventually(lambda: not is_alive(pid), within=10)
        except AssertionError:
            send(pid, signal.SIGKILL)
    shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
