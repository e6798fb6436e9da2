"""Bodies that are no orders: the tests of tests/integration, through the published port."""

from __future__ import annotations

from tests.integration import test_http_fuzz
from tests.support.adopting import adopt

globals().update(adopt(test_http_fuzz))
