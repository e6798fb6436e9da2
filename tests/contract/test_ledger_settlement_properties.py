"""Settlement against the serial replay, whatever messages, workers and crashes come between.

A machine takes in random blocks, delivers their messages in any order, any number of times or
never, forges others, lets two workers take turns on the same partitions, breaks transactions off
and retries dead letters. The ledger must be proven after every step. In the end every partition is
nudged until nothing is open, and outcomes, balances and money must be those of one clerk.
"""

from __future__ import annotations

import hashlib
import json
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

import hypothesis.strategies as st
import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, settings
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from services.payment.faults import Faults, FaultyGateway
from services.payment.gateway import LedgerGateway
from services.payment.next_batch import Delivery
from services.payment.settle import Settler
from shared.ledger import dead
from shared.ledger.cursors import peek
from shared.ledger.database import tables
from shared.ledger.dead_letters import dead_letters
from shared.ledger.entries import accepted_orders, entry_at
from shared.ledger.positions import read_positions
from shared.ledger.settlement import BATCH_FAILURES, record_failure, write
from shared.ledger.totals import totals
from tests.support import ledgers as some
from tests.support.forgeries import FORGERIES, PARTITIONS
from tests.support.replay import MAX_ATTEMPTS, FinalState, replay
from tests.support.strategies import examples

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from shared.ledger.ledger import Ledger
    from shared.ledger.postings import Settlement

    NewLedger = Callable[..., Ledger]
    Forge = Callable[[dict[str, Any]], None]

OPENING_BALANCE = 1000
TRANSIENT, PERMANENT = 0.35, 0.15
REFUSED = {Delivery.FORGED, Delivery.FOREIGN, Delivery.UNREADABLE}

partitions = st.integers(0, PARTITIONS - 1)
turns = st.integers(0, 1)
# How long ago; the latest matter most. Nothing that is drawn depends on the ledger, because what
# is in it depends on the clock: an order may be due for its next attempt a moment sooner or later.
ages = st.integers(0, 3) | st.integers(0, 200)
moments = st.sampled_from(["never", "never", "never", "before", "inside", "after"])
wanted = st.builds(
    some.order,
    st.integers(1, 40).map("o-{}".format),
    st.sampled_from(["c-1", "c-2", "c-3"]),
    st.integers(0, 700),
    st.sampled_from(["USD", "JPY"]),
)


class Crash(Exception):
    """The process ends here."""


class Pipeline(RuleBasedStateMachine):
    """Two workers, a producer and much misfortune, on one ledger."""

    def __init__(self, new_ledger: NewLedger) -> None:
        super().__init__()
        self.ledger = new_ledger(partitions=PARTITIONS, opening_balance=OPENING_BALANCE)
        self.messages: list[bytes] = []
        self.prepared: list[Settlement] = []
        self.seed = 0
        self.settlers: list[Settler] = []

    @initialize(seed=st.integers(0, 1000), block=st.lists(wanted, min_size=4, max_size=8))
    def hire(self, seed: int, block: list[dict[str, Any]]) -> None:
        self.seed = seed
        self.settlers = [self.hired(), self.hired()]
        self.take_in(block, "never")

    def hired(self) -> Settler:
        gateway = FaultyGateway(LedgerGateway(), Faults(TRANSIENT, PERMANENT, self.seed))
        return Settler(self.ledger, gateway, worker="w", batch_size=2, max_attempts=MAX_ATTEMPTS)

    @rule(block=st.lists(wanted, min_size=1, max_size=8), crash=moments)
    def take_in(self, block: list[dict[str, Any]], crash: str) -> None:
        with suppress(Crash), crashing(self.ledger, crash):
            appended = some.take_in(self.ledger, block, batch_size=3)
            self.messages += [message.body for message in appended.messages]

    @rule(turn=turns, age=ages)
    def deliver(self, turn: int, age: int) -> None:
        message = self.messages[-1 - age % len(self.messages)]
        assert self.settlers[turn].settle(message).delivery not in REFUSED

    @rule(turn=turns, age=ages, forge=st.sampled_from(list(FORGERIES)))
    def deliver_a_forgery(self, turn: int, age: int, forge: Forge) -> None:
        message = json.loads(self.messages[-1 - age % len(self.messages)])
        forge(message)
        forged = json.dumps(message, separators=(",", ":")).encode()
        assert self.settlers[turn].settle(forged).delivery is FORGERIES[forge]

    @rule(turn=turns, partition=partitions, crash=moments)
    def settle(self, turn: int, partition: int, crash: str) -> None:
        self.let_time_pass()
        with suppress(Crash), crashing(self.ledger, crash):
            self.settlers[turn].settle_partition(partition)
        if crash != "never":
            self.settlers[turn] = self.hired()

    @rule(turn=turns, partition=partitions)
    def prepare(self, turn: int, partition: int) -> None:
        settler = self.settlers[turn]
        if (batch := settler.prepare(partition)) is not None:
            self.prepared.append(settler.decide(batch, time.monotonic() + 60))

    @rule(age=ages)
    def write_what_was_prepared(self, age: int) -> None:
        if self.prepared:
            self.write(self.prepared.pop(-1 - age % len(self.prepared)))

    @rule(turn=turns, partition=partitions)
    def overtake(self, turn: int, partition: int) -> None:
        self.prepare(turn, partition)
        self.let_time_pass()
        self.settlers[1 - turn].settle_partition(partition)
        if self.prepared:
            self.write(self.prepared.pop())

    def write(self, settlement: Settlement) -> None:
        """Write a settlement, which must do nothing if the cursor has moved meanwhile."""
        before = settlement.before
        with self.ledger.database.read() as connection:
            now = peek(connection, before.partition)
        is_fresh = (now.number, now.attempts) == (before.number, before.attempts)
        assert write(self.ledger, settlement) is is_fresh
        assert not write(self.ledger, settlement), "written twice"

    @rule(partition=partitions)
    def fail_as_a_batch(self, partition: int) -> None:
        with self.ledger.database.read() as connection:
            failures = peek(connection, partition).failures
        if failures < BATCH_FAILURES:  # one more, and somebody has to be the culprit
            record_failure(self.ledger, partition, "broke", batch_size=2)

    def let_time_pass(self) -> None:
        with self.ledger.database.write() as connection:
            connection.execute(tables.cursors.update().values(retry_at=None))

    @rule(places=st.sets(st.integers(0, 9), min_size=1), is_discarded_first=st.sampled_from([0, 1]))
    def retry_the_dead(self, places: set[int], is_discarded_first: int) -> None:
        with self.ledger.database.read() as connection:
            letters = dead_letters(connection)
        chosen = [letters[place] for place in places if place < len(letters)]
        if is_discarded_first:
            dead.discard(self.ledger, chosen)
            assert dead.discard(self.ledger, chosen) == 0
        messages = dead.retry(self.ledger, chosen)
        assert len(messages) == len(chosen)
        assert dead.retry(self.ledger, chosen) == [], "retried twice"
        self.messages += [message.body for message in messages]

    @invariant()
    def is_proven(self) -> None:
        some.assert_proven(self.ledger)

    def teardown(self) -> None:
        settler = self.hired()
        for _ in range(500):
            with self.ledger.database.read() as connection:
                places = [place.partition for place in read_positions(connection) if place.open]
            if not places:
                break
            for partition in places:
                settler.settle_partition(partition)
            self.let_time_pass()
        else:
            raise AssertionError("something stays open")
        self.is_proven()
        expected, attempts = self.replay()
        assert some.final_state_of(self.ledger) == expected
        with self.ledger.database.read() as connection:
            assert totals(connection).as_dict() == expected.totals()
            assert attempts_of(connection) == attempts

    def replay(self) -> tuple[FinalState, dict[str, int]]:
        """Pay the accepted orders as one clerk would, in the order of their numbers."""
        with self.ledger.database.read() as connection:
            accepted = [
                (order, entry_at(connection, partition, number).attempts)
                for partition, number, order in accepted_orders(connection)
            ]
        ends = {order.order_id: self.end(order.order_id, tried) for order, tried in accepted}
        doomed = [order_id for order_id, (dies, _) in ends.items() if dies]
        final_state = replay(
            (order.model_dump() for order, _ in accepted if order.order_id not in doomed),
            opening_balance=OPENING_BALANCE,
        )
        final_state.status |= dict.fromkeys(doomed, "dead")
        return final_state, {order_id: attempts for order_id, (_, attempts) in ends.items()}

    def end(self, order_id: str, tried: int) -> tuple[bool, int]:
        """Predict whether the gateway lets none of the next attempts through, and the last one."""
        for attempt in range(tried + 1, tried + MAX_ATTEMPTS + 1):
            key = f"{self.seed}/{order_id}/{attempt}".encode()
            drawn = int.from_bytes(hashlib.blake2b(key, digest_size=8).digest()) / 2**64
            if not PERMANENT <= drawn < PERMANENT + TRANSIENT:
                return drawn < PERMANENT, attempt
        return True, tried + MAX_ATTEMPTS


def attempts_of(connection: sa.Connection) -> dict[str, int]:
    """Read how often each order was tried, by its last outcome."""
    rows = connection.execute(
        sa.select(tables.outcomes).where(tables.outcomes.c.status != "retried")
    )
    return {row.order_id: row.attempts for row in rows}


@contextmanager
def crashing(ledger: Ledger, moment: str) -> Iterator[None]:
    """End the process at its next write: before the transaction, inside it, after it or never."""
    write = ledger.database.write

    @contextmanager
    def crash(**options: Any) -> Iterator[sa.Connection]:
        if moment == "before":
            raise Crash
        with write(**options) as connection:
            yield connection
            if moment == "inside":
                raise Crash
        if moment == "after":
            raise Crash

    ledger.database.write = crash  # type: ignore[method-assign]
    try:
        yield
    finally:
        ledger.database.write = write  # type: ignore[method-assign]


@pytest.mark.hypothesis
@pytest.mark.timeout(600)  # a failure is made small before it is shown
def test_whatever_happens_the_result_is_that_of_one_clerk(new_ledger: NewLedger) -> None:
    class PipelineHere(Pipeline):
        def __init__(self) -> None:
            super().__init__(new_ledger)

    run_state_machine_as_test(
        PipelineHere,
        settings=settings(
            deadline=None,
            max_examples=examples(20),
            stateful_step_count=40,
            # It takes the transactions between two draws for a slow draw.
            suppress_health_check=[HealthCheck.too_slow],
        ),
    )
