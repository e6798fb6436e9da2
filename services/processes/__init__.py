"""The processes that the services are made of: signals, children, and where workers come from."""
