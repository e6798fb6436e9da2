"""The producer: orders from files, the generator or the network, through one intake."""
