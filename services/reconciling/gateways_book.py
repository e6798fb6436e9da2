"""An outside gateway's book, read page by page from whatever ``charges`` of the gateway is."""

from __future__ import annotations

import asyncio
import inspect
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple

from shared.errors import BookUnavailable, ConfigurationError, OrderlyError
from shared.texts import of_error, shown

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from services.payment.outside import OutsideGateway

PAGE = 1000
"""Charges that are compared at once."""


class Booked(NamedTuple):
    """A charge in the book, of one ledger's.

    Attributes:
        id: What the backend calls it.
        order_id: Whose it is, by the key.
        generation: The key's.
        amount: Minor units.
        is_paid: Whether the money was taken; else it was declined.
    """

    id: str
    order_id: str
    generation: int
    amount: int
    currency: str
    is_paid: bool
    reason: str | None


class GatewaysBook:
    """Reads the charges of one ledger.

    Args:
        gateway: Whose book it is.
        ledger_id: The ledger's, with which its keys begin.

    Attributes:
        count: Charges of that ledger that the last reading came upon.
    """

    def __init__(self, gateway: OutsideGateway, ledger_id: str) -> None:
        self._name = gateway.name
        self._mark = f"{ledger_id}~"
        self._runner = asyncio.Runner()
        self._gateway: Any = self._runner.run(_made(gateway))  # it may belong to its loop
        self.count = 0
        if not callable(getattr(self._gateway, "charges", None)):
            raise ConfigurationError(
                f"PAYMENT_GATEWAY={gateway.name} has no method charges(); docs/gateway.md says "
                "what it must tell"
            )

    def read(self) -> Iterator[list[Booked]]:
        """Read from the beginning to the present end.

        Raises:
            BookUnavailable: It cannot be read, or makes no sense.
        """
        self.count = 0
        pages = self._pages()
        while True:
            try:
                page = next(pages, None)
                if page is None:
                    return
                found = [self._understand(each) for each in page]
            except (OrderlyError, KeyboardInterrupt):
                raise
            except BaseException as error:
                raise BookUnavailable(
                    f"the book of PAYMENT_GATEWAY={self._name} cannot be read: {of_error(error)}; "
                    "see to the gateway and run it again"
                ) from error
            ours = [each for each in found if each is not None]
            self.count += len(ours)
            yield ours

    def close(self) -> None:
        """Let the gateway close its connections."""
        close = getattr(self._gateway, "close", None)
        if inspect.iscoroutinefunction(close):
            self._runner.run(close())
        self._runner.close()

    def _pages(self) -> Iterator[list[Any]]:
        charges = self._gateway.charges()
        if inspect.isawaitable(charges):
            charges = self._runner.run(_awaited(charges))
        if hasattr(charges, "__aiter__"):
            charges = aiter(charges)
            while page := self._runner.run(_take(charges)):
                yield page
        else:
            charges = iter(charges)
            while page := list(islice(charges, PAGE)):
                yield page

    def _understand(self, charge: object) -> Booked | None:
        """Read a charge, if it is one of this ledger's."""
        key = _member(charge, "key")
        if not isinstance(key, str) or not key.startswith(self._mark):
            return None
        parts = key.split("~")
        amount, status = _member(charge, "amount"), _member(charge, "status")
        is_whole = len(parts) == 3 and parts[2].isdecimal()  # noqa: PLR2004
        if not is_whole or type(amount) is not int or status not in {"paid", "declined"}:
            raise BookUnavailable(
                f"the book of PAYMENT_GATEWAY={self._name} has a charge that is none: "
                f"{shown(charge)}; see to the gateway"
            )
        reason = _member(charge, "reason")
        return Booked(
            str(_member(charge, "id")),
            parts[1],
            int(parts[2]),
            amount,
            str(_member(charge, "currency")),
            status == "paid",
            None if reason is None else str(reason),
        )


def _member(charge: object, name: str) -> object:
    """Read a member of a charge, which may be a mapping or an object."""
    return charge[name] if isinstance(charge, dict) else getattr(charge, name)


async def _made(gateway: OutsideGateway) -> object:
    return gateway.make()


async def _awaited(charges: Any) -> Any:  # noqa: ANN401  somebody else's
    return await charges


async def _take(charges: AsyncIterator[object]) -> list[object]:
    page: list[object] = []
    async for each in charges:
        page.append(each)
        if len(page) == PAGE:
            break
    return page
