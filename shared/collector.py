"""The cyclic garbage collector, where much is made and little of it is garbage."""

from __future__ import annotations

import gc


def collect_seldom() -> None:
    """Let it look for garbage a hundred times less often than by default.

    Imports alone make objects by the hundred thousand that stay: looking among them takes a tenth
    of the time in which a process starts.
    """
    gc.set_threshold(200_000, 20, 20)


def tune_gc() -> None:
    """Keep the cyclic garbage collector out of a process that parses many orders.

    Orders hold no cycles, but each one makes a dozen containers, and collections that find nothing
    took more than half of the parsing time. Everything imported so far is set aside as permanent.
    """
    gc.collect()
    gc.freeze()
    collect_seldom()
