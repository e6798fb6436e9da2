"""Tests that start no process and need no server."""
