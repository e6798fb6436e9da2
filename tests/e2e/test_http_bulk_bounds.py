"""The bounds of bulk bodies: the tests of tests/integration, through the published port."""

from __future__ import annotations

from tests.e2e.adopting import adopt
from tests.integration import test_http_bulk_bounds

globals().update(adopt(test_http_bulk_bounds))
