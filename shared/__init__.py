"""What every service agrees on: the message, the settings, the queue and the ledger."""
