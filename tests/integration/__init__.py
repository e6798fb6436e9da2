"""Tests of real process trees: commands and services as people start them."""
