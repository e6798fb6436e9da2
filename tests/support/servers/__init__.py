"""Real servers for the tests: where their programs are, how they run, and that they end."""
