"""A payment backend of our own, to break: HTTP over its own SQLite book. It knows no ledger."""
