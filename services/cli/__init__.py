"""The ``orderly`` command."""
