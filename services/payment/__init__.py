"""The payment consumers: a batch of orders in, settled outcomes out."""
