"""Tests of the page, in Chromium; `make test-page` runs them."""
