"""The pipeline: workers under supervision, recovery and housekeeping around one ledger."""
