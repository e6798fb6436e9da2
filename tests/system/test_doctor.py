"""`make doctor`, which is a script of bash, and asks PostgreSQL by its own psql."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING

from tests.support.orderly import ROOT

if TYPE_CHECKING:
    from tests.support.servers.postgres_server import PostgresServer


def test_the_doctor_warns_of_a_server_that_may_lose_commits(own_postgres: PostgresServer) -> None:
    def examined(url: str) -> str:
        path = f"{own_postgres.programs}{os.pathsep}{os.environ['PATH']}"
        words = os.environ | {"PATH": path, "LEDGER_URL": url, "DOCKER_HOST": "unix:///nowhere"}
        doctor = ROOT / "docker" / "doctor.sh"
        done = subprocess.run([doctor], env=words, capture_output=True, text=True, check=False)
        return done.stdout

    found = examined(own_postgres.new_database())
    assert "ledger    WARNING  PostgreSQL has fsync=off, full_page_writes=off: a power" in found
    assert "ledger" not in examined("sqlite:///orderly.db")
