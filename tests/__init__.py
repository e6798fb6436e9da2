"""The tests: unit without I/O, contract over every backend, integration with real processes."""
