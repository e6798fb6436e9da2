"""Damages to a ledger, done by hand in its tables, and what verification has to say of each."""

from __future__ import annotations

from typing import NamedTuple

# The orders of the ledger that is damaged, by what has become of them.
PAID, DECLINED, DEAD, RETRIED, LAST = "o-paid", "o-declined", "o-dead", "o-retried", "o-last"


class Case(NamedTuple):
    """A damage, and one violation that must be found: its check, and a part of its place."""

    check: str
    where: str
    statements: tuple[str, ...]


def _waiting(of: str, order: str | None = None, customer: str = "c-1") -> str:
    """Write the row of an order that waits, at the number of another one."""
    columns = "partition, number, order_id, customer_id, state, generation, attempts, crashes"
    values = f"partition, number, '{order or of}', '{customer}', 'queued', 0, 0, 0, 'w'"
    return (
        f"INSERT INTO pending ({columns}, caller) "  # noqa: S608  a test's own words
        f"SELECT {values} FROM outcomes WHERE order_id = '{of}'"
    )


_LAX_TRANSFERS = (
    "CREATE TABLE lax AS SELECT * FROM transfers",
    "DROP TABLE transfers",
    "ALTER TABLE lax RENAME TO transfers",
)
CASES = {
    "a transfer is removed": Case(
        "transfer", PAID, ("DELETE FROM transfers WHERE order_id = 'o-paid'",)
    ),
    "a transfer is doubled without the unique index": Case(
        "transfer",
        PAID,
        (
            *_LAX_TRANSFERS,
            (
                "INSERT INTO transfers SELECT 99, order_id, debit, credit, amount, currency, "
                "made_at FROM transfers WHERE order_id = 'o-paid'"
            ),
        ),
    ),
    "a transfer is doubled for no order": Case(
        "transfer",
        "transfer 99",
        (
            (
                "INSERT INTO transfers SELECT 99, NULL, debit, credit, amount, currency, made_at "
                "FROM transfers WHERE order_id = 'o-paid'"
            ),
        ),
    ),
    "a transfer is doubled for an unknown order": Case(
        "transfer",
        "o-unknown",
        (
            (
                "INSERT INTO transfers SELECT 99, 'o-unknown', debit, credit, amount, currency, "
                "made_at FROM transfers WHERE order_id = 'o-paid'"
            ),
        ),
    ),
    "a transfer is doubled for a declined order": Case(
        "transfer",
        DECLINED,
        (
            (
                "INSERT INTO transfers SELECT 99, 'o-declined', debit, credit, amount, currency, "
                "made_at FROM transfers WHERE order_id = 'o-paid'"
            ),
        ),
    ),
    "an opening is doubled": Case(
        "account",
        "customer/c-1/USD",
        (
            (
                "INSERT INTO transfers SELECT 99, NULL, debit, credit, amount, currency, made_at "
                "FROM transfers WHERE order_id IS NULL AND credit = 'customer/c-1/USD'"
            ),
        ),
    ),
    "a transfer's amount is changed": Case(
        "transfer", PAID, ("UPDATE transfers SET amount = 299 WHERE order_id = 'o-paid'",)
    ),
    "a transfer's currency is changed": Case(
        "transfer", PAID, ("UPDATE transfers SET currency = 'EUR' WHERE order_id = 'o-paid'",)
    ),
    "a transfer is taken from somebody else": Case(
        "transfer",
        PAID,
        ("UPDATE transfers SET debit = 'customer/c-3/USD' WHERE order_id = 'o-paid'",),
    ),
    "a transfer goes to somebody else": Case(
        "transfer",
        PAID,
        ("UPDATE transfers SET credit = 'customer/c-3/USD' WHERE order_id = 'o-paid'",),
    ),
    "an opening is more than it should be": Case(
        "transfer", "transfer ", ("UPDATE transfers SET amount = 1001 WHERE order_id IS NULL",)
    ),
    "the cursor is ahead of the head": Case(
        "cursor", "partition 0", ("UPDATE cursors SET number = number + 1",)
    ),
    "the cursor is behind": Case("cursor", RETRIED, ("UPDATE cursors SET number = number - 1",)),
    "the cursor is at the start": Case("cursor", PAID, ("UPDATE cursors SET number = 0",)),
    "the head is ahead of the journal": Case(
        "numbers", "partition 0", ("UPDATE heads SET number = number + 1",)
    ),
    "the head is behind the journal": Case(
        "numbers", "partition 0", ("UPDATE heads SET number = number - 1",)
    ),
    "the count of created orders is changed": Case(
        "identity", "partition 0", ("UPDATE heads SET created = created + 1",)
    ),
    "a head is removed": Case("numbers", "partition 0", ("DELETE FROM heads",)),
    "a cursor is removed": Case("numbers", "partition 0", ("DELETE FROM cursors",)),
    "a balance is changed": Case(
        "balance",
        "customer/c-1/USD",
        ("UPDATE accounts SET balance = balance + 1 WHERE account = 'customer/c-1/USD'",),
    ),
    "a balance is lost": Case(
        "balance",
        "customer/c-1/USD",
        ("UPDATE accounts SET balance = NULL WHERE account = 'customer/c-1/USD'",),
    ),
    "a balance hides behind another kind of account": Case(
        "account",
        "customer/c-1/USD",
        (
            (
                "UPDATE accounts SET kind = 'bank', balance = balance + 1 "
                "WHERE account = 'customer/c-1/USD'"
            ),
        ),
    ),
    "an account's currency is changed": Case(
        "account",
        "customer/c-1/USD",
        ("UPDATE accounts SET currency = 'EUR' WHERE account = 'customer/c-1/USD'",),
    ),
    "an account is kept where nobody looks for it": Case(
        "account",
        "customer/c-1/USD",
        ("UPDATE accounts SET partition = 1 WHERE account = 'customer/c-1/USD'",),
    ),
    "an account that never paid is kept where nobody looks for it": Case(
        "account",
        "customer/c-4/USD",
        ("UPDATE accounts SET partition = 1 WHERE account = 'customer/c-4/USD'",),
    ),
    "an account is kept twice": Case(
        "account",
        "customer/c-1/USD",
        (
            (
                "INSERT INTO accounts SELECT 1, account, kind, currency, balance, opened_at "
                "FROM accounts WHERE account = 'customer/c-1/USD'"
            ),
        ),
    ),
    "a customer's account is removed": Case(
        "account",
        "customer/c-1/USD",
        ("DELETE FROM accounts WHERE account = 'customer/c-1/USD'",),
    ),
    "the merchant's account is removed": Case(
        "account", "merchant/USD", ("DELETE FROM accounts WHERE account = 'merchant/USD'",)
    ),
    "an account appears from nowhere": Case(
        "account",
        "customer/c-9/USD",
        ("INSERT INTO accounts VALUES (0, 'customer/c-9/USD', 'customer', 'USD', 0, 0)",),
    ),
    "an outcome is removed": Case(
        "cursor", DECLINED, ("DELETE FROM outcomes WHERE order_id = 'o-declined'",)
    ),
    "a paid order is said to be declined": Case(
        "transfer", PAID, ("UPDATE outcomes SET status = 'declined' WHERE order_id = 'o-paid'",)
    ),
    "a declined order is said to be paid": Case(
        "transfer",
        DECLINED,
        ("UPDATE outcomes SET status = 'paid' WHERE order_id = 'o-declined'",),
    ),
    "a dead order is said to be declined": Case(
        "tally",
        "dead in USD",
        ("UPDATE outcomes SET status = 'declined' WHERE order_id = 'o-dead'",),
    ),
    "a dead order is said to be retried": Case(
        "identity", DEAD, ("UPDATE outcomes SET status = 'retried' WHERE order_id = 'o-dead'",)
    ),
    "a retried number is said to be dead": Case(
        "identity", RETRIED, ("UPDATE outcomes SET status = 'dead' WHERE status = 'retried'",)
    ),
    "a paid outcome's amount is changed": Case(
        "outcome", PAID, ("UPDATE outcomes SET amount = 299 WHERE order_id = 'o-paid'",)
    ),
    "a declined outcome's amount is changed": Case(
        "outcome", DECLINED, ("UPDATE outcomes SET amount = 1 WHERE order_id = 'o-declined'",)
    ),
    "an outcome's currency is changed": Case(
        "outcome", DECLINED, ("UPDATE outcomes SET currency = 'EUR' WHERE order_id='o-declined'",)
    ),
    "an outcome is another order's": Case(
        "outcome", DECLINED, ("UPDATE outcomes SET order_id = 'x' WHERE order_id='o-declined'",)
    ),
    "an outcome appears beyond the journal": Case(
        "outcome",
        "o-x",
        (
            (
                "INSERT INTO outcomes VALUES "
                "(0, 9, 'o-x', 'dead', 1, 'USD', 1, NULL, 1, 'w', NULL, NULL, NULL, NULL)"
            ),
        ),
    ),
    "an order waits beside its outcome": Case("pending", PAID, (_waiting("o-paid"),)),
    "an order waits in place of another one": Case(
        "pending",
        DECLINED,
        (_waiting("o-declined", "o-else"), "DELETE FROM outcomes WHERE order_id = 'o-declined'"),
    ),
    "an order of another customer waits": Case(
        "pending",
        DECLINED,
        (
            _waiting("o-declined", customer="c-else"),
            "DELETE FROM outcomes WHERE order_id = 'o-declined'",
        ),
    ),
    "an order waits beyond the journal": Case(
        "pending",
        "o-x",
        (
            _waiting("o-paid"),
            "UPDATE pending SET number = 9, order_id = 'o-x' WHERE order_id = 'o-paid'",
        ),
    ),
    "an order is in doubt since never": Case(
        "pending",
        PAID,
        (_waiting("o-paid"), "UPDATE pending SET state = 'doubt' WHERE order_id = 'o-paid'"),
    ),
    "more orders wait than there are": Case(
        "pending", "partition 0", ("UPDATE cursors SET pending = pending + 1 WHERE partition = 0",)
    ),
    "a paid order is in doubt": Case(
        "outcome",
        PAID,
        ("UPDATE outcomes SET doubtful_since = settled_at WHERE order_id = 'o-paid'",),
    ),
    "a settled order is resolved once more": Case(
        "resolution",
        PAID,
        ("INSERT INTO resolutions VALUES ('o-paid', 'free', NULL, NULL, '', 1)",),
    ),
    "an identity is removed": Case(
        "identity", DECLINED, ("DELETE FROM identities WHERE order_id = 'o-declined'",)
    ),
    "an identity has a number that nobody has": Case(
        "identity",
        DECLINED,
        ("UPDATE identities SET number = 99 WHERE order_id = 'o-declined'",),
    ),
    "an identity has another order's number": Case(
        "identity",
        DECLINED,
        ("UPDATE identities SET number = 1 WHERE order_id = 'o-declined'",),
    ),
    "an identity has the next order's number": Case(
        "identity",
        DECLINED,
        ("UPDATE identities SET number = 3 WHERE order_id = 'o-declined'",),
    ),
    "an identity has another partition": Case(
        "identity",
        DECLINED,
        ("UPDATE identities SET partition = 1 WHERE order_id = 'o-declined'",),
    ),
    "an identity's digest is changed": Case(
        "identity",
        DECLINED,
        ("UPDATE identities SET digest = zeroblob(16) WHERE order_id = 'o-declined'",),
    ),
    "an identity appears beyond the journal": Case(
        "identity", "o-x", ("INSERT INTO identities VALUES ('o-x', zeroblob(16), 0, 9)",)
    ),
    "a journal entry is removed from the middle": Case(
        "numbers", "numbers 7 to 7", ("DELETE FROM journal WHERE first = 4",)
    ),
    "the journal's last entry is removed": Case(
        "numbers", "partition 0", ("DELETE FROM journal WHERE first = 7",)
    ),
    "a byte of a price in the journal is changed": Case(
        "journal",
        "numbers 1 to 3",
        (
            (
                "UPDATE journal SET body = CAST(replace(CAST(body AS TEXT), '300', '301') AS BLOB) "
                "WHERE first = 1"
            ),
        ),
    ),
    "a byte of the journal's syntax is changed": Case(
        "journal",
        "numbers 1 to 3",
        ("UPDATE journal SET body = CAST('[' || substr(body, 2) AS BLOB) WHERE first = 1",),
    ),
    "an entry's digest is changed": Case(
        "journal", "numbers 1 to 3", ("UPDATE journal SET digest = zeroblob(16) WHERE first = 1",)
    ),
    "an entry's end is changed": Case(
        "journal", "numbers 1 to 2", ("UPDATE journal SET last = 2 WHERE first = 1",)
    ),
    "a tally's count is changed": Case(
        "tally",
        "declined in USD",
        ("UPDATE tallies SET orders = orders + 1 WHERE status = 'declined'",),
    ),
    "a tally is removed": Case(
        "tally", "declined in USD", ("DELETE FROM tallies WHERE status = 'declined'",)
    ),
    "the low half of a paid tally is changed": Case(
        "tally",
        "paid in USD",
        ("UPDATE tallies SET amount_low = amount_low + 1 WHERE status = 'paid'",),
    ),
    "the high half of a paid tally is changed": Case(
        "tally",
        "paid in USD",
        ("UPDATE tallies SET amount_high = amount_high + 1 WHERE status = 'paid'",),
    ),
    "the amount of a declined tally is changed": Case(
        "tally",
        "declined in USD",
        ("UPDATE tallies SET amount_low = amount_low + 1 WHERE status = 'declined'",),
    ),
    "an amount hides in a tally of no orders": Case(
        "tally", "paid in EUR", ("INSERT INTO tallies VALUES (0, 'paid', 'EUR', 0, 0, 7)",)
    ),
}
