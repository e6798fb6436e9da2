"""The ledger: the journal of accepted orders, the cursors that settle them, and what was paid."""
