"""A payment worker: the process around a consumer, in either mode."""
