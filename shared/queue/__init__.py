"""The queue between producer and payment consumers: a port, and a backend per QUEUE_MODE."""
