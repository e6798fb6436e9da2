"""Tests beside programs that people run with Orderly: proxies, poolers, Redis with TLS."""
