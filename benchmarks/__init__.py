"""What Orderly can do on this machine: prints, judges nothing."""
