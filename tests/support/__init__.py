"""What tests use: the command, servers, clients, forgeries, the replay."""
