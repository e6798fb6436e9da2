"""Whether a process runs. Standard library only: the servers' watchdog starts with it."""

from __future__ import annotations

import os
from pathlib import Path


def is_alive(pid: int) -> bool:
    """Whether a process runs; a zombie does not, whose parent may take its time."""
    if not send(pid, 0):
        return False
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return True  # no such folder on macOS
    return stat.rsplit(")", 1)[1].split()[0] != "Z"


def send(pid: int, number: int) -> bool:
    """Send a signal; say whether there was anybody."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return False
    return True
