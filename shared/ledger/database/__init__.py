"""The database under the ledger: tables, transactions, and what SQLite and PostgreSQL each need."""
