"""Tests of the containers, driven with make and docker compose; `make test-e2e` runs them."""
