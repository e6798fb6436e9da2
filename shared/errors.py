"""The errors Orderly raises on purpose, and the exit code each one means.

OrderlyError
├── ConfigurationError      2  a setting, an option or a ledger made with other settings
├── UsageError              2  a command that makes no sense, an order that is not there
├── InputError              2  an input that cannot be opened, or has the wrong header
├── LedgerUnavailable       3  the ledger cannot be reached, read or written
│   ├── LedgerReplaced      3  another ledger, or none, is where this one was
│   └── LedgerInterrupted   3  it cannot just now: nothing was written, another try may succeed
│       └── LedgerUncertain 3  the answer to a commit was lost: it was written, or not
├── QueueUnavailable        3  the queue's server lets nobody in, or was never there
├── BookUnavailable         3  the bank's book cannot be opened or written, or a gateway's read
├── OutputUnavailable       3  the rejects file or standard output takes no more
├── WorkersFailed           1  payment workers die as soon as they start
├── InvalidOrder            -  an order breaks the schema: it is rejected, the run goes on
├── InvalidBatch            -  a message breaks the schema: it is counted, the journal answers
└── Backlogged              -  no room below MAX_PENDING: wait, or ask the sender to

Anything else that reaches the top is a bug and shows its traceback.
"""

from __future__ import annotations

from typing import NamedTuple


class Reason(NamedTuple):
    """Why an order was rejected: where, which rule, and what stood there instead."""

    where: str
    rule: str
    value: str = ""

    def __str__(self) -> str:
        got = f", not {self.value}" if self.rule.startswith("must ") else f" ({self.value})"
        return f"{self.where}: {self.rule}{got if self.value else ''}"

    @property
    def kind(self) -> str:
        """The reason without place and value, so that equal ones can be counted."""
        field = self.where.rpartition(" ")[2].rpartition(".")[2]
        if field.isdigit():
            field = "line"
        return f"{field}: {self.rule.partition(' (')[0]}"


class OrderlyError(Exception):
    """The root: one line for the operator, and the process's exit code."""

    exit_code = 1


class ConfigurationError(OrderlyError):
    """A setting or an option is unusable; the message names it and the remedy."""

    exit_code = 2


class UsageError(OrderlyError):
    """A command was called in a way that makes no sense; the message says what would."""

    exit_code = 2


class InputError(OrderlyError):
    """An input cannot be opened, or is not what its name says."""

    exit_code = 2


class LedgerUnavailable(OrderlyError):
    """The ledger cannot be reached, read or written; the message names its URL."""

    exit_code = 3


class LedgerReplaced(LedgerUnavailable):
    """What this process opened is not there any more: it was set aside, deleted or replaced."""


class LedgerInterrupted(LedgerUnavailable):
    """The ledger went away, or cannot do just now what it should: worth another try.

    Nothing was written.
    """


class LedgerUncertain(LedgerInterrupted):
    """The answer to a commit was lost: what should be written then is there, or not."""


class QueueUnavailable(OrderlyError):
    """The queue's server refuses us, or has not answered since the start; names its URL."""

    exit_code = 3


class BookUnavailable(OrderlyError):
    """The bank's book cannot be used, or a gateway's read; the message names file or gateway."""

    exit_code = 3


class OutputUnavailable(OrderlyError):
    """What is written beside the ledger cannot be; the message says where to, and why."""

    exit_code = 3


class WorkersFailed(OrderlyError):
    """Payment workers end before they are ready, again and again."""


class InvalidOrder(OrderlyError):
    """An order breaks the schema.

    Attributes:
        reasons: Every rule it breaks, at least one.
    """

    def __init__(self, reasons: list[Reason]) -> None:
        super().__init__("; ".join(map(str, reasons)))
        self.reasons = reasons


class InvalidBatch(OrderlyError):
    """A queue message is not an OrderBatch of this schema version."""


class Backlogged(OrderlyError):
    """As many orders are open as MAX_PENDING allows; nothing of the block was written.

    Attributes:
        room: How many more orders would fit now.
    """

    def __init__(self, room: int) -> None:
        super().__init__(f"the pipeline is full: room for {room} more orders")
        self.room = room
