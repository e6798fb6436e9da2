"""Every path and method of the service, and what every answer of it carries."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import httpx

METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
PATHS = (
    *("/orders", "/orders/bulk", "/orders/a-1", "/orders/a-1/retry", "/orders/a-1/discard"),
    *("/status", "/verify", "/healthz", "/readyz", "/metrics", "/openapi.json"),
    *("/", "/page/base.css", "/generator", "/dead/retry"),
    *("/docs", "/docs/start.js", "/docs/swagger-ui.css", "/problems/full"),
)


def assert_guarded(response: httpx.Response) -> None:
    """Hold an answer to the headers that every one has."""
    found = response.headers
    assert found["x-content-type-options"] == "nosniff"
    assert "default-src 'none'" in found["content-security-policy"]
    assert "frame-ancestors 'none'" in found["content-security-policy"]
    assert found["referrer-policy"] == "no-referrer"
    assert found["cross-origin-resource-policy"] == "same-origin"
    assert found["cache-control"] == "no-store"
    assert re.fullmatch(r"[A-Za-z0-9._-]{1,64}", found["x-request-id"])
    assert not [name for name in found if name.startswith("access-control-")]
    assert "server" not in found
    assert all(len(found.get_list(name)) == 1 for name in found)
