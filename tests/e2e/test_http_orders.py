"""Placing orders one by one: the tests of tests/integration, through the published port."""

from __future__ import annotations

from tests.integration import test_http_orders
from tests.support.adopting import adopt

globals().update(adopt(test_http_orders))
