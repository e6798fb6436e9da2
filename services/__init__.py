"""The services: what takes orders in, what takes the money, and what keeps both running."""
