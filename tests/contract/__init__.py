"""What every queue and every ledger promises: the same tests over each of them."""
