"""Wall-clock time as the ledger keeps it: UTC, in whole microseconds since 1970."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

SECOND = 1_000_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def now_us() -> int:
    """Read the clock: microseconds since 1970, UTC."""
    return time.time_ns() // 1000


def from_us(microseconds: int) -> datetime:
    """Turn ledger time into an aware datetime."""
    return _EPOCH + timedelta(microseconds=microseconds)


def to_text(microseconds: int) -> str:
    """Write ledger time in RFC 3339, in UTC."""
    return from_us(microseconds).isoformat().replace("+00:00", "Z")
