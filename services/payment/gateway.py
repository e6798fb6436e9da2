"""The payment gateway: the backend that a consumer calls to take the money for one order.

The built-in one is the ledger itself: it knows what the customer has, and decides within the
settlement. ``PAYMENT_GATEWAY`` names another one, which is outside; ``examples/own_gateway.py`` is
a whole one, ``docs/gateway.md`` the guide. ``charge(charge)`` is a plain function or a coroutine
function. It returns ``Paid`` or ``Declined``, or it raises:

- ``TransientFailure``: not charged, try again; counts as an attempt, MAX_ATTEMPTS of them are dead
- ``PermanentFailure``: not charged, and never will be; dead at once
- ``Unavailable``: nothing was sent; counts for nothing but the breaker
- ``RetryAfter``: not charged, busy for everybody; all calls pause
- ``KeyInUse``: the first request of this key is still at work
- ``KeySpent``: this key replays a failure whose effect is unknown
- ``InDoubt``, or anything else: it may be charged, and nobody knows

A call that takes longer than GATEWAY_TIMEOUT is in doubt, too; its late answer still counts. What
becomes of an order in doubt follows from what the gateway declares, as attributes:

- ``idempotent = True``: it honours ``charge.key``; asked for again it gives its first answer
- ``key_lifetime``: seconds for which it keeps a key; a day if it does not say
- ``lookup(charge)``: finds out; returns ``Paid``, ``Declined``, ``NOT_CHARGED`` or ``UNDER_WAY``
- ``settles_within``: seconds after which a look-up sees every charge; a minute if it does not say
- ``concurrent = True``: it may be called for several customers at once
- ``ping()``: asks whether it is there, and charges nothing
- ``charges()``: its book as an iterator of ``BookedCharge``, for ``orderly reconcile``

One that declares nothing is called for one order at a time, and never twice for one: what is in
doubt is dead until somebody looks. A plain function is called in threads, and a class instantiated
once for each of them. It may do with ``charge.order`` what it likes: it is a copy.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

if TYPE_CHECKING:
    from shared.schema import Order


@dataclass(frozen=True, slots=True)
class Charge:
    """A request to take the money for one order.

    Attributes:
        order: What is paid for.
        amount: The order's total, in minor units of its currency.
        balance: What the customer's account holds in the ledger, in minor units. The ledger's own
            gateway takes no more than that; another may, and leave the account below zero.
        attempt: 1 at first, and one more after each failure.
        key: The idempotency key, ``LEDGER~ORDER~GENERATION``: the same until a call with it has
            not charged, for certain.
        is_repeated: Whether this key may have been used before.
    """

    order: Order
    amount: int
    balance: int
    attempt: int
    key: str = ""
    is_repeated: bool = False


@dataclass(frozen=True, slots=True)
class Paid:
    """The money was taken.

    Attributes:
        reference: What the backend calls the charge.
    """

    reference: str | None = None


@dataclass(frozen=True, slots=True)
class Declined:
    """The money was refused, for good."""

    reason: str


PAID: Final = Paid()


class BookedCharge(NamedTuple):
    """A charge as the backend's book has it, whoever asked for it.

    Attributes:
        id: What the backend calls it.
        key: The key that it was asked for under.
        reference: The order's id.
        account: Whose money: the ledger's name of the customer's account.
        amount: Minor units of the currency.
        currency: The order's.
        status: ``paid`` or ``declined``.
        reason: Why it was declined.
    """

    id: str
    key: str
    reference: str
    account: str
    amount: int
    currency: str
    status: str
    reason: str | None


class Uncharged(Enum):
    """What a look-up finds where there is no answer to a charge."""

    NOT_CHARGED = "not charged"
    UNDER_WAY = "under way"


NOT_CHARGED: Final = Uncharged.NOT_CHARGED
"""It was never charged, and no request that could still do so is on its way."""

UNDER_WAY: Final = Uncharged.UNDER_WAY
"""It will have an answer soon."""


class TransientFailure(Exception):
    """It was not charged; it may be another time."""


class PermanentFailure(Exception):
    """It was not charged, and never will be."""


class Unavailable(Exception):
    """Nothing was sent, for whatever reason; no order is at fault.

    Args:
        reason: Why.
        for_all: Whether others need not be tried, such as where our credentials are refused.
    """

    def __init__(self, reason: object = "", *, for_all: bool = False) -> None:
        super().__init__(reason)
        self.for_all = for_all


class _Wait(Exception):
    def __init__(self, seconds: float = 1.0, reason: object = "") -> None:
        super().__init__(reason)
        self.seconds = seconds


class RetryAfter(_Wait):
    """It was not charged, the backend is busy: nobody calls it for so many seconds."""


class KeyInUse(_Wait):
    """The first request of this key is still at work; ask again in so many seconds."""


class KeySpent(Exception):
    """This key replays a failure whose effect is unknown, for as long as it is kept."""


class InDoubt(Exception):
    """It may be charged, or not."""


class Gateway(Protocol):
    """What a gateway must offer."""

    def charge(self, charge: Charge) -> Paid | Declined:
        """Take the money for one order; may be a coroutine function.

        Raises:
            TransientFailure: Not charged; try again later.
            PermanentFailure: Not charged; do not.
            Unavailable: Nothing was sent.
            RetryAfter: Not charged; do not ask for anybody for a while.
            KeyInUse: Asked already, and still at work.
            KeySpent: Asked already, and it failed.
            InDoubt: Nobody knows.
        """


class LedgerGateway:
    """Pays from the customer's account in the ledger, as long as there is enough on it."""

    _refusal = Declined("insufficient funds")

    def charge(self, charge: Charge) -> Paid | Declined:
        """Compare the amount with the balance; settlement moves the money."""
        return PAID if charge.amount <= charge.balance else self._refusal
