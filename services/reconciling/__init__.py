"""The book of an outside gateway beside the ledger, and what differs."""
