"""The cyclic garbage collector, where orders are parsed by the million."""

from __future__ import annotations

import gc


def tune_gc() -> None:
    """Keep the cyclic garbage collector out of a process that parses many orders.

    Orders hold no cycles, but each one makes a dozen containers, and collections that find nothing
    took more than half of the parsing time. Everything imported so far is set aside as permanent.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(200_000, 20, 20)
