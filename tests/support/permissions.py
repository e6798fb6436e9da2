"""Processes that permissions apply to, even where the tests run as root."""

from __future__ import annotations

import ctypes
import os

PR_CAPBSET_DROP = 24
CAPABILITIES_OVER_FILES = (1, 2)  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH


def as_a_plain_user() -> None:
    """Give up root's privilege to pass over permissions; call it between fork and exec."""
    if os.geteuid() == 0:
        for capability in CAPABILITIES_OVER_FILES:
            if ctypes.CDLL(None).prctl(PR_CAPBSET_DROP, capability) != 0:
                raise OSError("cannot drop a capability")
