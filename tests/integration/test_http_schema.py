"""The OpenAPI document and the service agree, whatever is made up from the one."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.support.orderly import ROOT
from tests.support.strategies import examples

if TYPE_CHECKING:
    from tests.support.server import Server

TOKEN = "open-sesame"  # noqa: S105  this test's own
SCHEMATHESIS = [sys.executable, "-m", "schemathesis.cli"]
BOUNDED = (f"--max-examples={examples(12)}", "--generation-deterministic")


@pytest.mark.long
@pytest.mark.hypothesis
def test_schemathesis_finds_nothing(server: Server) -> None:
    """Valid and invalid requests to every operation, and their answers held to the document.

    Every order is dead, so that retrying and discarding is tried on what can be.
    """
    server.orderly.environment |= {"API_TOKEN": TOKEN, "GATEWAY_FAULTS": "permanent=1"}
    server.start()
    done = subprocess.run(
        [
            *(
                *SCHEMATHESIS,
                "--config-file",
                str(ROOT / "tests" / "support" / "schemathesis.toml"),
            ),
            *("run", f"{server.url}/openapi.json", "--header"),
            *(f"Authorization: Bearer {TOKEN}", "--continue-on-failure", "--no-color", *BOUNDED),
        ],
        cwd=server.orderly.folder,
        env=server.orderly.environment | {"PYTHONPATH": str(ROOT), "PYTHONUTF8": "1"},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "No issues found" in done.stdout
    assert "Tested: 15" in done.stdout
    found = server.client.get("/metrics").text
    for answer in (
        'code="202",route="/orders"',
        'code="200",route="/orders"',
        'code="422",route="/orders"',
        'code="401",route="none"',
        'code="200",route="/orders/bulk"',
        'code="200",route="/orders/{order_id}"',
        'code="202",route="/orders/{order_id}/retry"',
        'code="200",route="/orders/{order_id}/discard"',
    ):
        assert f"orderly_http_responses_total{{{answer}}}" in found, answer
    assert server.logged(level="error") == []
