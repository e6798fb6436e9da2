"""Charging: many calls to an outside gateway at once, one a customer, each of them a row first."""
