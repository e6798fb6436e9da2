"""The HTTP routes, all of them, a module for what belongs together."""
