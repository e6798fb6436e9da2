"""What a gateway's answer does to its order, its customer and the orders behind it."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

import pytest

from services.payment.faults import Faults, FaultyGateway
from services.payment.gateway import (
    PAID,
    Charge,
    Declined,
    LedgerGateway,
    Paid,
    PermanentFailure,
    TransientFailure,
)
from shared.ledger.settlement import record_failure
from shared.ledger.totals import totals
from tests.support.ledgers import assert_proven, final_state_of, order, take_in
from tests.support.settling import Scripted, cursor, outcomes, settle_through, settler

if TYPE_CHECKING:
    from collections.abc import Callable

    from shared.ledger.ledger import Ledger

    NewLedger = Callable[..., Ledger]

ANSWERED = "invalid: the gateway answered"
SAID = "a NotText that cannot be written: TypeError"


class Refusal(Declined):
    """A kind of answer of a gateway's own."""


class Mute(Declined):
    """Declines, and breaks when it is asked why."""

    reason = property(lambda _: 1 / 0)

    def __init__(self) -> None:
        """Leave the reason out."""


class Unshowable:
    def __repr__(self) -> str:
        raise SystemExit(1)


class NotText:
    def __str__(self) -> str:
        return 12  # type: ignore[return-value]  # noqa: PLE0307

    __repr__ = __str__


class Wordless(PermanentFailure):
    def __str__(self) -> str:
        raise ValueError("no words")


class Posing:
    """Says that it is a payment."""

    __class__ = Paid  # type: ignore[assignment]


class Meddling(Scripted):
    """Changes whatever it is given, and then answers as it is told."""

    def charge(self, charge: Charge) -> Paid | Declined:
        order, item = charge.order, charge.order.items[0]
        object.__setattr__(item, "quantity", 1000)
        item.__dict__["unit_price"] = 0
        try:
            return super().charge(Charge(order.model_copy(), charge.amount, 0, charge.attempt))
        finally:
            object.__setattr__(order, "currency", "EUR")
            order.__dict__.update(order_id="stolen", customer_id="c-2", items=())
            order.__pydantic_fields_set__.clear()
            object.__setattr__(charge, "amount", 0)
            object.__setattr__(charge, "balance", 10**12)


async def coroutine() -> Paid:
    return PAID


def test_a_gateway_that_changes_its_order_changes_no_other(new_ledger: NewLedger) -> None:
    ledger = new_ledger(partitions=1)
    take_in(ledger, [order(f"o-{number}") for number in range(1, 5)])
    answers: dict[str, list[Any]] = {
        "o-1": [TransientFailure("busy"), OSError("x")],
        "o-2": [Declined("no")],
        "o-3": [PermanentFailure("stolen")],
    }
    gateway = Meddling(**answers)
    settle_through(ledger, gateway)
    assert outcomes(ledger) == [
        ("o-1", "paid", 3, None),
        ("o-2", "declined", 1, "no"),
        ("o-3", "dead", 1, "stolen"),
        ("o-4", "paid", 1, None),
    ]
    assert final_state_of(ledger).balance == {("c-1", "USD"): 100_000 - 200}
    assert_proven(ledger)
    # However often it is asked for an order, it is asked for the same one.
    assert {charge.order.order_id for charge in gateway.asked} == {"o-1", "o-2", "o-3", "o-4"}
    assert {charge.amount for charge in gateway.asked} == {100}


def test_the_ledgers_own_gateway_is_handed_the_order_itself(new_ledger: NewLedger) -> None:
    ledger = new_ledger(partitions=1)
    take_in(ledger, [order("o-1")])
    asked: list[Charge] = []

    def charge(self: LedgerGateway, charge: Charge) -> Paid | Declined:
        asked.append(charge)
        return pay(self, charge)

    pay = LedgerGateway.charge
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(LedgerGateway, "charge", charge)
        worker = settler(ledger, FaultyGateway(LedgerGateway(), Faults(0, 0, 1)))
        batch = worker.prepare(0)
        assert batch is not None
        worker.decide(batch, time.monotonic() + 60)
    assert asked[0].order is next(batch.orders())[0]


@pytest.mark.parametrize(
    ("answers", "status", "attempts", "reason"),
    [
        ([Declined("no")], "declined", 1, "no"),
        ([PermanentFailure("stolen")], "dead", 1, "stolen"),
        ([PermanentFailure()], "dead", 1, "refused for good"),
        ([TransientFailure("busy"), PermanentFailure("stolen")], "dead", 2, "stolen"),
        ([TransientFailure("busy")] * 4, "paid", 5, None),
        ([TransientFailure("busy")] * 5, "dead", 5, "busy"),
        ([ZeroDivisionError("x")] * 2, "paid", 3, None),
        ([ZeroDivisionError("x")] * 3, "dead", 3, "invalid: ZeroDivisionError: x"),
        ([None], "dead", 1, "invalid: the gateway answered None"),
        ([True], "dead", 1, "invalid: the gateway answered True"),
        # What a database refuses as text.
        ([Declined("n\0")], "declined", 1, "n\\x00"),
        ([PermanentFailure("\udcff")], "dead", 1, "\\udcff"),
        ([TransientFailure("\ud800\0 é")] * 5, "dead", 5, "\\ud800\\x00 é"),
        ([OSError("\0")] * 3, "dead", 3, "invalid: OSError: \\x00"),
        # What is no answer, or none in the way it should be.
        ([Declined(12345)], "declined", 1, "12345"),  # type: ignore[arg-type]
        ([Declined(None)], "declined", 1, "no reason given"),  # type: ignore[arg-type]
        ([Declined(NotText())], "declined", 1, SAID),  # type: ignore[arg-type]
        ([Declined("")], "declined", 1, "no reason given"),
        ([Refusal("no")], "declined", 1, "no"),
        ([Mute()], "declined", 1, "no reason: ZeroDivisionError: division by zero"),
        ([Paid], "dead", 1, f"{ANSWERED} the class Paid; return PAID or Declined(reason)"),
        ([Unshowable()], "dead", 1, f"{ANSWERED} a Unshowable that cannot be shown: SystemExit"),
        ([NotText()], "dead", 1, f"{ANSWERED} a NotText that cannot be shown: TypeError"),
        ([Posing()], "dead", 1, None),
        ([[PAID]], "dead", 1, f"{ANSWERED} [Paid(reference=None)]"),
        ([Wordless()], "dead", 1, "a Wordless that cannot be written: ValueError"),
        # What ends a program elsewhere is a fault of the gateway here.
        ([asyncio.CancelledError()] * 3, "dead", 3, "invalid: CancelledError"),
        ([SystemExit(0)] * 2, "paid", 3, None),
        ([GeneratorExit()] * 3, "dead", 3, "invalid: GeneratorExit"),
        ([MemoryError()] * 3, "dead", 3, "invalid: MemoryError"),
        ([BaseExceptionGroup("all", [SystemExit()])] * 3, "dead", 3, None),
        # What steers a terminal, hides or turns around.
        (
            [Declined("\x1b[31mred\x07\nfake 1.00\x9b\u202e\u2028\u200b\x7f")],
            "declined",
            1,
            r"\x1b[31mred\x07\nfake 1.00\x9b\u202e\u2028\u200b\x7f",
        ),
        ([PermanentFailure("A" * 5_000_000)], "dead", 1, "A" * 482 + "… (4,999,518 more)"),
        ([["A" * 5_000_000]], "dead", 1, None),
    ],
)
def test_an_answer_becomes_an_outcome_and_the_next_order_goes_on(
    new_ledger: NewLedger, answers: list[Any], status: str, attempts: int, reason: str | None
) -> None:
    ledger = new_ledger(partitions=1)
    take_in(ledger, [order("o-1"), order("o-2")])
    settle_through(ledger, Scripted(**{"o-1": list(answers)}))
    (*found, said), after = outcomes(ledger)
    assert (found, after) == (["o-1", status, attempts], ("o-2", "paid", 1, None))
    if reason is not None or status == "paid":
        assert said == reason
    assert len(said or "") <= 500
    assert_proven(ledger)


def test_a_coroutine_is_named_as_what_it_is(new_ledger: NewLedger) -> None:
    ledger = new_ledger(partitions=1)
    take_in(ledger, [order("o-1"), order("o-2")])
    settle_through(ledger, Scripted(**{"o-1": [coroutine()]}))
    reason = f"{ANSWERED} a coroutine; its charge must not be async"
    assert outcomes(ledger) == [("o-1", "dead", 1, reason), ("o-2", "paid", 1, None)]


def test_ctrl_c_is_no_answer(new_ledger: NewLedger) -> None:
    ledger = new_ledger(partitions=1)
    take_in(ledger, [order("o-1")])
    with pytest.raises(KeyboardInterrupt):
        settler(ledger, Scripted(**{"o-1": [KeyboardInterrupt()]})).settle_partition(0)


def test_what_a_batch_failed_of_is_kept_short_and_legible(new_ledger: NewLedger) -> None:
    ledger = new_ledger(partitions=1)
    record_failure(ledger, 0, "\x1b[2J\0" + "A" * 5_000_000, batch_size=10)
    reason = cursor(ledger).reason or ""
    assert reason.startswith("\\x1b[2J\\x00AAA")
    assert len(reason) == 500


def test_a_gateway_that_breaks_is_not_tried_more_often_than_any_other(
    new_ledger: NewLedger,
) -> None:
    ledger = new_ledger(partitions=1)
    take_in(ledger, [order("o-1")])
    settle_through(ledger, Scripted(**{"o-1": [OSError("x")] * 9}), max_attempts=2)
    assert outcomes(ledger) == [("o-1", "dead", 2, "invalid: OSError: x")]


def test_a_gateway_may_grant_debt_but_not_more_than_an_account_can_hold(
    new_ledger: NewLedger,
) -> None:
    ledger = new_ledger(partitions=1, opening_balance=0)
    line = {"sku": "gold", "quantity": 1_000_000, "unit_price": 10**12}
    take_in(ledger, [order(f"o-{number}") | {"items": (line,) * 9} for number in range(3)])
    settle_through(ledger, Scripted())
    assert [status for _, status, *_ in outcomes(ledger)] == ["paid", "dead", "dead"]
    assert final_state_of(ledger).balance == {("c-1", "USD"): -9 * 10**18}
    assert_proven(ledger)


def test_sums_beyond_64_bits_are_exact(new_ledger: NewLedger) -> None:
    ledger = new_ledger(partitions=1, opening_balance=0)
    line = {"sku": "gold", "quantity": 1_000_000, "unit_price": 10**12}
    block = [order(f"o-{n}", f"c-{n}") | {"items": (line,) * 9} for n in range(5)]
    take_in(ledger, block)
    settle_through(ledger, Scripted())
    with ledger.database.read() as connection:
        assert totals(connection).paid_amount == {"USD": 45 * 10**18}
    assert_proven(ledger)
