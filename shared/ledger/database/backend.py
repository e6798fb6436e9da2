"""What a database must do to keep a ledger; SQLite and PostgreSQL each do it in their own way."""

from __future__ import annotations

from enum import Enum, auto
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

    import sqlalchemy as sa

    Pulse = Callable[[], AbstractContextManager[None]]

BUSY_SECONDS = 15.0
"""How long to try before a database counts as not to be reached, or as locked by somebody."""


REFUSES = (
    "refuses what belongs there; drop the constraint or trigger that was added to it, and if there "
    "is none it is damaged: restore a copy of it"
)
"""What a database's rules mean that none of ours can have broken."""


class Trouble(Enum):
    """Whose an error of the driver is, and whether waiting helps.

    Only ``OF_THE_DATA`` may be held against the order that was written.
    """

    OF_THE_DATA = auto()
    PASSING = auto()
    LASTING = auto()


class Locks(Protocol):
    """Locks on partitions that end with whoever has them.

    Attributes:
        are_lost: Whether they have ended for certain.
        connection: The only one through which their holder may write; None where any will do.
    """

    connection: sa.Connection | None

    @property
    def are_lost(self) -> bool:
        """Whether they have ended."""

    def take(self, partitions: Sequence[int]) -> list[int]:
        """Lock those that nobody has; return which that were. None of them is locked by us."""

    def release(self, partitions: Sequence[int]) -> None:
        """Unlock them."""

    def keep(self) -> None:
        """Show that their holder is there."""

    def close(self) -> None:
        """Unlock all."""


class Backend(Protocol):
    """One kind of database.

    Attributes:
        name: Its URL, fit for people: without a password.
        hazard: Which of the server's settings lose commits in a power cut, as far as is known.
        errors: What its driver raises.
        insert: Makes an INSERT that knows ON CONFLICT.
    """

    name: str
    hazard: str | None
    errors: type[Exception]
    insert: Any

    def create_engines(self) -> tuple[sa.Engine, sa.Engine]:
        """Make an engine for readers, each with one snapshot, and one for writers."""

    def hurry(self) -> None:
        """Make one attempt at a time to connect from now on, where there is a server."""

    def exists(self) -> bool:
        """Whether there is a database at all."""

    def recognise(self) -> None:
        """Remember what is there at present, for ``gone``."""

    def gone(self) -> str | None:
        """Name what was recognised and is no longer in place, as far as that is told at once."""

    def close(self, *engines: sa.Engine) -> None:
        """Give every connection back, unless that would harm what is in place of the ledger."""

    def read_identity(self, connection: sa.Connection) -> str | None:
        """Read the id of the ledger that a transaction has before it, and bind it to that one."""

    def making(self, is_made: Callable[[], bool], make: Callable[[], None]) -> None:
        """Make the ledger if nobody has: once, of all the processes that start together."""

    def exclude_makers(self, connection: sa.Connection) -> None:
        """Wait, in the transaction that makes the ledger, until nobody else makes one."""

    def in_the_way(self, connection: sa.Connection) -> str | None:
        """Say what keeps a ledger from being made where there is none, if anything does."""

    def writing(self) -> AbstractContextManager[None]:
        """Wait for one's turn to write, where writers take turns."""

    def migrating(self, close: Callable[[], None], change: Callable[[], None]) -> None:
        """Change the tables of a ledger that nobody else uses.

        Args:
            close: Lets go of this process's own connections.
            change: Does it, in a transaction.

        Raises:
            LedgerUnavailable: Another process uses it.
        """

    def set_aside(self, close: Callable[[], None]) -> str | None:
        """Put the ledger where the next one does not find it; return where that is, if it was.

        Args:
            close: Lets go of this process's own connections.

        Raises:
            LedgerUnavailable: Another process uses it.
        """

    def beside(self, suffix: str) -> Path:
        """Name a file that belongs to this ledger."""

    def write_rows(
        self,
        connection: sa.Connection,
        insert: sa.Insert,
        columns: tuple[str, ...],
        rows: list[tuple[Any, ...]],
    ) -> int:
        """Insert many rows at once, without an object per row; return how many were written."""

    def delete_rows(
        self,
        connection: sa.Connection,
        table: sa.Table,
        columns: tuple[str, ...],
        rows: list[tuple[Any, ...]],
    ) -> int:
        """Delete many rows at once by the values of some columns; return how many there were."""

    def open_locks(self, writer: sa.Engine, ledger_id: str) -> Locks:
        """Prepare to hold partitions of a ledger."""

    def bind_list(self, values: list[Any]) -> Any:  # noqa: ANN401
        """Encode a list as the one parameter that ``any_of`` reads."""

    def any_of(self, column: sa.ColumnElement[Any], parameter: str) -> sa.ColumnElement[bool]:
        """``column`` is one of the values bound to ``parameter``: one statement for any number."""

    def contains(self, column: sa.ColumnElement[Any], value: bytes) -> sa.ColumnElement[bool]:
        """The bytes in ``column`` contain ``value``."""

    def diagnose(self, error: BaseException) -> Trouble:
        """Say whose an error of the driver is; what nobody knows is no order's fault."""

    def has_refused(self, error: BaseException) -> bool:
        """Whether an error that answers a commit means that nothing was committed, for certain."""

    def interrupt(self, driver: Any) -> None:  # noqa: ANN401
        """Break off the statement that another thread runs on a connection of the driver."""

    def remedy(self, error: BaseException) -> str:
        """Say what an error of the driver means for its operator; follows the ledger's name."""
