"""Verification: what the ledger claims, worked out again."""
