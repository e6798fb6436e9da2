"""Intake's side of the ledger: identities, numbers and the journal.

A block of orders becomes durable in one transaction, or not at all. What is in the journal was
accepted; where its partition's cursor has not come yet, it is open.
"""

from __future__ import annotations

import hashlib
from contextlib import suppress
from enum import StrEnum
from operator import itemgetter
from typing import TYPE_CHECKING, Any, NamedTuple

import sqlalchemy as sa

from shared import clock
from shared.errors import Backlogged
from shared.ledger.database.tables import heads, identities, journal
from shared.ledger.positions import read_positions
from shared.schema import Message, encode_batch, encode_nudge

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from shared.ledger.ledger import Ledger

ENTRY_BYTES = 256 * 1024
"""An entry is cut at this size too, so that no message of huge orders fills a worker's memory."""


def digest(data: bytes) -> bytes:
    """The 16 bytes by which the ledger knows an order's content, or a message's."""
    return hashlib.blake2b(data, digest_size=16).digest()


class Candidate(NamedTuple):
    """An order that asks to be accepted, in its canonical encoding."""

    order_id: str
    partition: int
    body: bytes
    digest: bytes


class Verdict(StrEnum):
    """What the journal said to a candidate."""

    CREATED = "created"
    DUPLICATE = "duplicate"
    CONFLICT = "conflict"
    NO_ROOM = "no_room"


class Appended(NamedTuple):
    """A written block.

    Attributes:
        verdicts: One per candidate, in their order.
        messages: What to enqueue.
        ends: The last number given, by partition.
    """

    verdicts: list[Verdict]
    messages: list[Message]
    ends: dict[int, int]


def append(
    ledger: Ledger,
    gather: Callable[[], Sequence[Candidate]],
    *,
    run_id: str,
    batch_size: int,
    max_pending: int,
    partly: bool = False,
    written: dict[int, int] | None = None,
) -> Appended:
    """Accept a block of orders, in its order; what is new is durable when this returns.

    Args:
        ledger: Where to.
        gather: Gives the candidates, in order of arrival. It is called when it is our turn to
            write, so that those who come or go meanwhile count; and again if that fails.
        run_id: Who writes: a report counts its own orders by it.
        batch_size: Most orders in an entry.
        max_pending: Most orders that may be open, this block's new ones included.
        partly: Whether to accept what there is room for, and call the rest ``NO_ROOM``.
        written: The last number that ``run_id`` knows it has written, by partition, if it was
            interrupted since: what it finds of its own beyond those it wrote just then, and
            those orders are new.

    Raises:
        Backlogged: The block would exceed ``max_pending``, and it was not to be accepted in
            part; nothing was written.
        LedgerUnavailable: Nothing was written.
    """
    while True:
        with suppress(_Outrun), ledger.database.write() as connection:
            block = gather()
            stamp = {"run_id": run_id, "accepted_at": clock.now_us(), "attempts": 0}
            room = max_pending - sum(position.open for position in read_positions(connection))
            known = _known(ledger, connection, block)
            own = _find_own(ledger, connection, known, run_id, written)
            verdicts, shards = _judge(block, known, max(room, 0), own.orders)
            if Verdict.NO_ROOM in verdicts and not partly:
                raise Backlogged(max(room, 0))
            if not shards:
                return Appended(verdicts, own.messages, own.ends)
            firsts = _take_numbers(connection, shards)
            _claim_identities(ledger, connection, shards, firsts)
            entries = [
                entry
                for partition, orders in shards.items()
                for entry in _cut(ledger, partition, firsts[partition], orders, batch_size)
            ]
            connection.execute(journal.insert(), [entry | stamp for entry in entries])
            messages = [Message(entry["partition"], entry["body"]) for entry in entries]
            messages += own.messages
            ends = own.ends | {
                number: firsts[number] + len(orders) - 1 for number, orders in shards.items()
            }
            return Appended(verdicts, messages, ends)


class _Outrun(Exception):
    """Another producer accepted one of the block's ids after we had looked for it."""


class _Own(NamedTuple):
    """What a block finds in the journal of its own: a commit whose answer was lost.

    Attributes:
        orders: The ids.
        ends: The last number in their partitions.
        messages: Nudges, since theirs were never sent.
    """

    orders: set[str]
    ends: dict[int, int]
    messages: list[Message]


def _find_own(
    ledger: Ledger,
    connection: sa.Connection,
    known: dict[str, bytes],
    run_id: str,
    written: dict[int, int] | None,
) -> _Own:
    """Look for what ``run_id`` has in the journal beyond ``written``, if it was interrupted."""
    own = _Own(set(), {}, [])
    if written is None or not known:
        return own
    query = (
        sa.select(identities.c.order_id, identities.c.partition, identities.c.number)
        .join(
            journal,
            sa.and_(
                journal.c.partition == identities.c.partition,
                journal.c.first <= identities.c.number,
                journal.c.last >= identities.c.number,
            ),
        )
        .where(
            ledger.database.backend.any_of(identities.c.order_id, "ids"),
            journal.c.run_id == run_id,
        )
    )
    ids = ledger.database.backend.bind_list(list(known))
    for order_id, partition, number in connection.execute(query, {"ids": ids}):
        if number > written.get(partition, 0):
            own.orders.add(order_id)
            own.ends[partition] = max(number, own.ends.get(partition, 0))
    for partition in own.ends:
        own.messages.append(Message(partition, encode_nudge(ledger.ledger_id, partition)))
    return own


_IDENTITY = ("order_id", "digest", "partition", "number")
_Shards = dict[int, list[Candidate]]


def _known(
    ledger: Ledger, connection: sa.Connection, block: Sequence[Candidate]
) -> dict[str, bytes]:
    database = ledger.database
    known = database.select_any((identities.c.order_id, identities.c.digest), identities.c.order_id)
    ids = [candidate.order_id for candidate in block]
    rows = connection.execute(known, {"values": database.backend.bind_list(ids)})
    return dict(rows.all())


def _judge(
    block: Sequence[Candidate], known: dict[str, bytes], room: int, own: set[str]
) -> tuple[list[Verdict], _Shards]:
    """Tell new orders from known ones; the new ones come back by partition, ascending.

    Once one finds no room no later one does, so a customer's orders keep their order. The first
    of ``own`` is new as well, and written already.
    """
    verdicts = []
    shards: _Shards = {}
    for candidate in block:
        before = known.get(candidate.order_id)
        if before is None and room == 0:
            verdicts.append(Verdict.NO_ROOM)
        elif before is None:
            room -= 1
            known[candidate.order_id] = candidate.digest
            verdicts.append(Verdict.CREATED)
            shards.setdefault(candidate.partition, []).append(candidate)
        elif before == candidate.digest and candidate.order_id in own:
            own.remove(candidate.order_id)
            verdicts.append(Verdict.CREATED)
        elif before == candidate.digest:
            verdicts.append(Verdict.DUPLICATE)
        else:
            verdicts.append(Verdict.CONFLICT)
    return verdicts, dict(sorted(shards.items()))


def _take_numbers(connection: sa.Connection, shards: _Shards) -> dict[int, int]:
    """Advance the heads; return the first number for each partition.

    The rows stay locked until the commit, in ascending order, so producers cannot deadlock.
    """
    rows = connection.execute(
        sa.select(heads.c.partition, heads.c.number)
        .where(heads.c.partition.in_(shards))
        .order_by(heads.c.partition)
        .with_for_update()
    )
    firsts = {partition: number + 1 for partition, number in rows}
    connection.execute(
        heads.update()
        .where(heads.c.partition == sa.bindparam("of"))
        .values(
            number=heads.c.number + sa.bindparam("n"), created=heads.c.created + sa.bindparam("n")
        ),
        [{"of": partition, "n": len(orders)} for partition, orders in shards.items()],
    )
    return firsts


def _claim_identities(
    ledger: Ledger, connection: sa.Connection, shards: _Shards, firsts: dict[int, int]
) -> None:
    rows = [
        (candidate.order_id, candidate.digest, partition, number)
        for partition, orders in shards.items()
        for number, candidate in enumerate(orders, firsts[partition])
    ]
    # Sorted: two producers that want the same ids meet at the first, and cannot deadlock.
    rows.sort(key=itemgetter(0))
    database = ledger.database
    claimed = database.backend.write_rows(
        connection, database.insert_new(identities), _IDENTITY, rows
    )
    if claimed != len(rows):
        raise _Outrun


def _cut(
    ledger: Ledger, partition: int, first: int, orders: list[Candidate], batch_size: int
) -> Iterator[dict[str, Any]]:
    """Cut a partition's new orders into journal entries."""
    start = 0
    while start < len(orders):
        size = 0
        end = start
        while end < len(orders) and end - start < batch_size and size < ENTRY_BYTES:
            size += len(orders[end].body)
            end += 1
        bodies = [candidate.body for candidate in orders[start:end]]
        body = encode_batch(ledger.ledger_id, partition, first + start, bodies)
        yield {
            "partition": partition,
            "first": first + start,
            "last": first + end - 1,
            "digest": digest(body),
            "body": body,
        }
        start = end
