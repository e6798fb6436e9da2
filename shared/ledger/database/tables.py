"""The ledger's tables. What is written where, and when, is in the modules beside this one.

Times are microseconds since 1970, UTC; amounts are minor units of a currency. Tables without a row
id keep their rows in the primary key itself: one B-tree to write instead of two.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    DDL,
    BigInteger,
    CheckConstraint,
    Column,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    String,
    Table,
    event,
)

from shared.ids import ID_LENGTH

SCHEMA_VERSION = 5
"""Counts the changes to these tables; ``shared.ledger.migration`` carries older ledgers over."""

metadata = MetaData()

_number = BigInteger().with_variant(Integer(), "sqlite")
# Compared byte by byte, as Python and SQLite do, and not by a language's rules.
_name = String(160).with_variant(String(160, collation="C"), "postgresql")
_id = String(ID_LENGTH).with_variant(String(ID_LENGTH, collation="C"), "postgresql")


ledger = Table(
    "ledger",
    metadata,
    Column("ledger_id", String, primary_key=True),
    Column("schema_version", Integer, nullable=False),
    Column("partitions", Integer, nullable=False),
    Column("opening_balance", _number, nullable=False),
    Column("created_at", _number, nullable=False),
    Column("gateway", String),
)
"""One row: who this ledger is, and the settings that cannot change under it.

``gateway`` names the outside backend that its orders were last charged through.
"""

heads = Table(
    "heads",
    metadata,
    Column("partition", Integer, primary_key=True, autoincrement=False),
    Column("number", _number, nullable=False),
    Column("created", _number, nullable=False),
)
"""Intake's end of a partition: the last number given, and how many orders there are.

``number`` exceeds ``created`` by the dead orders that were retried under a new number.
"""

cursors = Table(
    "cursors",
    metadata,
    Column("partition", Integer, primary_key=True, autoincrement=False),
    Column("number", _number, nullable=False),
    Column("moved_at", _number, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("retry_at", _number),
    Column("failures", Integer, nullable=False),
    Column("singly_until", _number, nullable=False),
    Column("reason", String),
    Column("nudged_at", _number),
    Column("pending", _number, nullable=False, server_default="0"),
)
"""Settlement's end of a partition: the last number taken up, and what is known of the next.

Every number up to it has an outcome or a row in ``pending``, which are counted here; the ledger's
own gateway decides at once and leaves none. Apart from the heads, so that intake and settlement
never wait for the same row.
"""

pending = Table(
    "pending",
    metadata,
    Column("partition", Integer, primary_key=True, autoincrement=False),
    Column("number", _number, primary_key=True, autoincrement=False),
    Column("order_id", _id, nullable=False),
    Column("customer_id", _id, nullable=False),
    Column("state", String(8), nullable=False),
    Column("generation", Integer, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("crashes", Integer, nullable=False),
    Column("key_since", _number),
    Column("doubtful_since", _number),
    Column("due_at", _number),
    Column("reason", String),
    Column("caller", String(32), nullable=False),
    CheckConstraint("state IN ('queued', 'called', 'waiting', 'doubt')", name="pending_state"),
    sqlite_with_rowid=False,
)
"""Orders that are taken up and not settled: a row before any call to an outside gateway.

Attributes:
    state: ``queued`` was not called; ``called`` may be out this moment; ``waiting`` was not
        charged, and is called again at ``due_at``; ``doubt`` may have been charged, and is asked
        for or looked up at ``due_at``.
    generation: The last part of the idempotency key; rises when a call did not charge, for certain.
    attempts: Failed attempts at this number.
    crashes: Workers that ended during the call.
    key_since: When this generation's key was first used.
    doubtful_since: Since when it may have been charged; until a definite answer.
    caller: The worker's life that wrote the row.
"""

resolutions = Table(
    "resolutions",
    metadata,
    Column("order_id", _id, primary_key=True),
    Column("status", String(8), nullable=False),
    Column("reference", String),
    Column("reason", String),
    Column("filed_by", String, nullable=False),
    Column("filed_at", _number, nullable=False),
    CheckConstraint("status IN ('paid', 'declined', 'free')", name="resolutions_status"),
    sqlite_with_rowid=False,
)
"""What somebody found out about an order in doubt; whoever holds its partition settles it so.

``free`` says that it was not charged, and may be asked for under a new key.
"""

identities = Table(
    "identities",
    metadata,
    Column("order_id", _id, primary_key=True),
    Column("digest", LargeBinary(16), nullable=False),
    Column("partition", Integer, nullable=False),
    Column("number", _number, nullable=False),
    sqlite_with_rowid=False,
)
"""Every order ever accepted: the digest of its content, and its present journal number."""

journal = Table(
    "journal",
    metadata,
    Column("partition", Integer, primary_key=True, autoincrement=False),
    Column("first", _number, primary_key=True, autoincrement=False),
    Column("last", _number, nullable=False),
    Column("digest", LargeBinary(16), nullable=False),
    Column("run_id", String(32), nullable=False),
    Column("accepted_at", _number, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("generation", Integer, nullable=False, server_default="0"),
    # Last, so that SQLite finds the others without following the pages that a body spills over.
    Column("body", LargeBinary, nullable=False),
)
"""The accepted orders, in entries of consecutive numbers: the very bytes of the message.

``attempts`` is what the orders of an entry have behind them: zero, but for a retried dead order.
``generation`` is that of its next key.
"""

Index("journal_by_time", journal.c.accepted_at, journal.c.partition, journal.c.first)

accounts = Table(
    "accounts",
    metadata,
    Column("partition", Integer, primary_key=True, autoincrement=False),
    Column("account", _name, primary_key=True),
    Column("kind", String(8), nullable=False),
    Column("currency", String(3), nullable=False),
    Column("balance", _number),
    Column("opened_at", _number, nullable=False),
    CheckConstraint("kind IN ('customer', 'merchant', 'bank')", name="accounts_kind"),
    sqlite_with_rowid=False,
)
"""Customers hold a balance; the merchant's and the bank's are sums of transfers, not rows that
every payment would have to update. They belong to the partition ``HOUSE``.

By partition, so that the accounts of a batch lie on few pages: what a commit costs is pages.
"""

HOUSE = -1

transfers = Table(
    "transfers",
    metadata,
    Column("transfer_id", _number, primary_key=True),
    Column("order_id", _id, unique=True),
    Column("debit", _name, nullable=False),
    Column("credit", _name, nullable=False),
    Column("amount", _number, nullable=False),
    Column("currency", String(3), nullable=False),
    Column("made_at", _number, nullable=False),
    CheckConstraint("amount >= 0", name="transfers_amount"),
    CheckConstraint("debit <> credit", name="transfers_sides"),
)
"""Money that moved. The unique ``order_id`` makes a second charge impossible; it is null for the
transfer that opens an account."""

outcomes = Table(
    "outcomes",
    metadata,
    Column("partition", Integer, primary_key=True, autoincrement=False),
    Column("number", _number, primary_key=True, autoincrement=False),
    Column("order_id", _id, nullable=False),
    Column("status", String(8), nullable=False),
    Column("amount", _number, nullable=False),
    Column("currency", String(3), nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("reason", String),
    Column("settled_at", _number, nullable=False),
    Column("worker", String, nullable=False),
    Column("changed_at", _number),
    Column("generation", Integer),
    Column("reference", String),
    Column("doubtful_since", _number),
    CheckConstraint("status IN ('paid', 'declined', 'dead', 'retried')", name="outcomes_status"),
    sqlite_with_rowid=False,
)
"""What became of a number. A dead order that is retried leaves ``retried`` here and goes on under
a new number; a dead one that was discarded stays dead. ``changed_at`` says when either happened.

Of an outside gateway: the generation of the last key, and what the backend calls the charge. A dead
order with ``doubtful_since`` may have been charged: only a person opens it again.
"""

# Written out: an Index with a condition for PostgreSQL would load that dialect in every process.
_index_the_doubtful: Any = DDL(  # type: ignore[no-untyped-call]
    "CREATE INDEX pending_doubtful ON pending (partition, number) WHERE doubtful_since IS NOT NULL"
)
event.listen(pending, "after_create", _index_the_doubtful)
_index_the_dead: Any = DDL(  # type: ignore[no-untyped-call]
    "CREATE INDEX outcomes_dead ON outcomes (partition, number) WHERE status = 'dead'"
)
event.listen(outcomes, "after_create", _index_the_dead)

failures = Table(
    "failures",
    metadata,
    Column("partition", Integer, primary_key=True, autoincrement=False),
    Column("number", _number, primary_key=True, autoincrement=False),
    Column("attempt", Integer, primary_key=True, autoincrement=False),
    Column("reason", String, nullable=False),
    Column("worker", String, nullable=False),
    Column("failed_at", _number, nullable=False),
    sqlite_with_rowid=False,
)
"""Attempts after which an order had to wait: what its outcome alone would not tell."""

tallies = Table(
    "tallies",
    metadata,
    Column("partition", Integer, primary_key=True, autoincrement=False),
    Column("status", String(8), primary_key=True),
    Column("currency", String(3), primary_key=True),
    Column("orders", _number, nullable=False),
    Column("amount_high", _number, nullable=False),
    Column("amount_low", _number, nullable=False),
)
"""Counts of outcomes, kept up with them in the same transaction, so that nobody has to scan.

The amount is ``(amount_high << LOW_BITS) + amount_low``: sums of halves, which cannot overflow.
"""

LOW_BITS = 32
LOW_MASK = (1 << LOW_BITS) - 1

workers = Table(
    "workers",
    metadata,
    Column("run_id", String(32), primary_key=True),
    Column("slot", SmallInteger, primary_key=True, autoincrement=False),
    Column("worker", String, nullable=False),
    Column("host", String, nullable=False),
    Column("pid", Integer, nullable=False),
    Column("state", String(16), nullable=False),
    Column("queue_depth", Integer, nullable=False),
    Column("restarts", Integer, nullable=False),
    Column("settled", _number, nullable=False),
    Column("started_at", _number, nullable=False),
    Column("seen_at", _number, nullable=False),
    Column("partition", Integer),
    Column("calls_out", Integer, nullable=False, server_default="0"),
    Column("meter", String, nullable=False),
)
"""The payment consumers that their supervisors know of, and what each has measured, as JSON."""

departed = Table(
    "departed",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("restarts", _number, nullable=False),
    Column("meter", String, nullable=False),
)
"""One row: what those have measured that are not among the workers any more."""
